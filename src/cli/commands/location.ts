/** sdmount location add, list, remove, rescan: the folders that are in the tree. */
import type { Command } from '../command.ts'
import { askLibrary } from '../library-client.ts'
import { nameOfText } from '../names.ts'
import { resolveFolder } from '../paths.ts'
import { count } from '../terminal/format.ts'
import { table } from '../terminal/table.ts'
import { printable } from '../terminal/terminal.ts'
import { libraryOf, required } from './arguments.ts'
import { ScanProgressLine } from './scan-progress.ts'

const add: Command = {
  words: ['location', 'add'],
  summary: 'add a folder to the tree',
  description: `Adds the folder at PATH to the tree, in place: nothing is copied or moved. While the library is mounted it appears at
once, and is scanned into the index in the background. A folder inside an sdmount tree is refused, since the tree can't
contain itself; a folder that contains the mountpoint is fine.

A folder on a filesystem that may hang (NFS, CIFS, sshfs or another FUSE) is driven by a thread of its own, with a deadline of ten seconds
a call: when its server is gone the rest of the tree goes on. \`--drive\` overrules that.`,
  arguments: [{ name: 'path', required: true, help: 'a folder' }],
  options: ['library', 'name', 'drive', 'wait', 'json'],
  examples: [
    { line: 'sdmount location add ~/Music', does: 'as Music at the top of the tree' },
    { line: 'sdmount location add /media/stick/DCIM --name Camera --wait', does: 'under another name; return when it is scanned' },
    { line: 'sdmount location add /mnt/nas --drive deferred', does: 'whatever filesystem it is on, its hanging stops nothing else' },
  ],
  async run(invocation) {
    const { terminal } = invocation
    const name = invocation.option('name')
    const drive = invocation.option('drive') as 'auto' | 'direct' | 'deferred' | undefined
    const progress = new ScanProgressLine(invocation.terminal)
    const added = await askLibrary({
      library: libraryOf(invocation),
      request: 'location.add',
      arguments: {
        path: resolveFolder(required(invocation, 'path')),
        wait: invocation.option('wait'),
        ...(name === undefined ? {} : { name: nameOfText(name) }),
        ...(drive === undefined ? {} : { drive }),
      },
      create: true,
      signal: invocation.signal,
      update: update => progress.show(update),
    })
    progress.end()
    if (invocation.option('json')) {
      terminal.print(
        JSON.stringify({ name: printable(added.name), path: printable(added.path), mounted: added.mounted, notes: added.notes }),
      )
      return 'ok'
    }
    terminal.print(
      `added ${printable(added.name)}: ${printable(added.path)}${added.mounted ? '' : ' (in the tree when the library is mounted)'}`,
    )
    for (const note of added.notes) terminal.remark(`note: ${note}`)
    return 'ok'
  },
}

const list: Command = {
  words: ['location', 'list'],
  summary: 'list the folders that are in the tree',
  description: 'Lists the locations with their folders and how many entries the index knows of each.',
  arguments: [],
  options: ['library', 'json'],
  examples: [{ line: 'sdmount location list', does: 'names, folders, entries' }],
  async run(invocation) {
    const { locations } = await askLibrary({
      library: libraryOf(invocation),
      request: 'location.list',
      arguments: {},
      create: false,
      signal: invocation.signal,
    })
    const rows = locations.map(l => ({ name: printable(l.name), path: printable(l.path), entries: l.entries }))
    if (invocation.option('json')) invocation.terminal.print(JSON.stringify(rows))
    else
      for (const line of table(
        ['NAME', 'FOLDER', 'ENTRIES'],
        rows.map(r => [r.name, r.path, count(r.entries)]),
      ))
        invocation.terminal.print(line)
    return 'ok'
  },
}

const remove: Command = {
  words: ['location', 'remove'],
  summary: 'take a folder out of the tree; its files stay where they are',
  description: `Takes the location out of the tree and out of the index. The folder and its files are not touched. Files that
programs have open stay usable until they are closed.`,
  arguments: [{ name: 'name', required: true, help: "the location's name, as `location list` shows it" }],
  options: ['library'],
  examples: [{ line: 'sdmount location remove Music', does: 'the files stay in ~/Music' }],
  async run(invocation) {
    const removed = await askLibrary({
      library: libraryOf(invocation),
      request: 'location.remove',
      arguments: { name: required(invocation, 'name') },
      create: false,
      signal: invocation.signal,
    })
    invocation.terminal.print(`removed ${printable(removed.name)} from the tree; ${printable(removed.path)} stays as it is`)
    return 'ok'
  },
}

const rescan: Command = {
  words: ['location', 'rescan'],
  summary: 'read a location (or all of them) into the index again',
  description: `The index follows changes by itself; a scan mends what it missed, for example on network filesystems, which don't tell
of changes. It runs in the background and slows nothing down.`,
  arguments: [{ name: 'name', required: false, help: 'one location; by default all' }],
  options: ['library', 'wait'],
  examples: [{ line: 'sdmount location rescan Music --wait', does: 'and wait for its end' }],
  async run(invocation) {
    const name = invocation.bytes('name')
    const progress = new ScanProgressLine(invocation.terminal)
    const { names } = await askLibrary({
      library: libraryOf(invocation),
      request: 'location.rescan',
      arguments: { wait: invocation.option('wait'), ...(name === undefined ? {} : { name }) },
      create: false,
      signal: invocation.signal,
      update: update => progress.show(update),
    })
    progress.end()
    invocation.terminal.print(
      `${invocation.option('wait') ? 'scanned' : 'scanning'} ${names.map(printable).join(', ') || 'nothing: there are no locations'}`,
    )
    return 'ok'
  },
}

export const locationCommands: readonly Command[] = [add, list, remove, rescan]
