/** sdmount volume list, remove, refresh: the cloud volumes of the library. (add and set: volume-add.ts) */
import type { Command } from '../command.ts'
import { askLibrary } from '../library-client.ts'
import type { CloudVolumeInfo } from '../service/requests.ts'
import { count, duration } from '../terminal/format.ts'
import { table } from '../terminal/table.ts'
import { printable } from '../terminal/terminal.ts'
import { libraryOf, required, treePath } from './arguments.ts'

const list: Command = {
  words: ['volume', 'list'],
  summary: 'list the cloud volumes, and what their servers can not promise',
  description: `Lists the cloud volumes with their buckets, their state, how many entries the index knows of each, and how much waits to
be uploaded. Below, a line for each guarantee that a server lacks; what was found out about a server can be overruled with
\`volume set NAME --assume WHAT=yes|no\`. \`--json\` prints the same for programs; fields are only ever added to it.`,
  arguments: [],
  options: ['library', 'json'],
  examples: [{ line: 'sdmount volume list', does: 'names, buckets, states' }],
  async run(invocation) {
    const { terminal, signal } = invocation
    const { volumes } = await askLibrary({ library: libraryOf(invocation), request: 'volume.list', arguments: {}, create: false, signal })
    if (invocation.option('json')) {
      terminal.print(JSON.stringify(volumes.map(volumeForPrograms)))
      return 'ok'
    }
    if (volumes.length === 0) terminal.remark('there are no cloud volumes: add one with sdmount volume add s3://BUCKET')
    const rows = volumes.map(v => [printable(v.name), where(v), v.state, count(v.entries), pending(v)])
    for (const line of table(['NAME', 'BUCKET', 'STATE', 'ENTRIES', 'WAITING'], rows)) terminal.print(line)
    for (const volume of volumes) {
      for (const line of [
        ...(volume.detail === undefined ? [] : [volume.detail]),
        ...(volume.readOnly ? ['read-only'] : []),
        ...volume.lacks,
      ])
        terminal.print(`${printable(volume.name)}: ${line}`)
    }
    return 'ok'
  },
}

const remove: Command = {
  words: ['volume', 'remove'],
  summary: 'take a cloud volume out of the tree; the bucket stays as it is',
  description: `Takes the volume out of the tree, out of the index and out of the cache, and forgets its keys. Nothing in the bucket is
touched. While changes wait to be uploaded it refuses and says what would be lost; \`--discard\` gives them up.`,
  arguments: [{ name: 'name', required: true, help: "the volume's name, as `volume list` shows it" }],
  options: ['library', 'discard'],
  examples: [
    { line: 'sdmount volume remove photos', does: 'the bucket keeps its objects' },
    { line: 'sdmount volume remove photos --discard', does: 'also when changes were not uploaded yet: they are lost' },
  ],
  async run(invocation) {
    const { terminal, signal } = invocation
    const removed = await askLibrary({
      library: libraryOf(invocation),
      request: 'volume.remove',
      arguments: { name: required(invocation, 'name'), discard: invocation.option('discard') },
      create: false,
      signal,
    })
    const lost = removed.discarded > 0 ? `; ${count(removed.discarded)} changes that were not uploaded are gone` : ''
    terminal.print(`removed ${printable(removed.name)} from the tree; ${removed.address} stays as it is${lost}`)
    return 'ok'
  },
}

const refresh: Command = {
  words: ['volume', 'refresh'],
  summary: 'ask the bucket now what changed',
  description: `What others changed in a bucket appears by itself within the volume's time-to-live (\`--ttl\`). This asks now, and returns
when the tree shows it. PATH is a cloud volume or a folder in it: below the mountpoint, or as it stands in the tree.`,
  arguments: [{ name: 'path', required: true, help: 'a cloud volume, or a folder in one' }],
  options: ['library'],
  examples: [
    { line: 'sdmount volume refresh photos', does: 'all of the volume' },
    { line: 'sdmount volume refresh ~/Spacedrive/photos/2024', does: 'one folder' },
  ],
  async run(invocation) {
    const library = libraryOf(invocation)
    const path = await treePath(invocation, library, required(invocation, 'path'))
    await askLibrary({ library, request: 'volume.refresh', arguments: path, create: false, signal: invocation.signal })
    invocation.terminal.print(`refreshed ${printable(path.volume)}${path.path === '' ? '' : `/${printable(path.path)}`}`)
    return 'ok'
  },
}

export const volumeCommands: readonly Command[] = [list, remove, refresh]

/** A volume as --json shows it: names made printable, nothing left out. */
export function volumeForPrograms(volume: CloudVolumeInfo): object {
  return { ...volume, name: printable(volume.name) }
}

function where(volume: CloudVolumeInfo): string {
  return volume.endpoint === undefined ? `${volume.address} (${volume.region})` : `${volume.address} at ${volume.endpoint}`
}

function pending(volume: CloudVolumeInfo): string {
  if (volume.queued + volume.failed === 0) return '-'
  return `${count(volume.queued)}${volume.failed > 0 ? ` and ${count(volume.failed)} failed` : ''}`
}

/** What a person is told of a volume that was just added or changed. */
export function settingsLine(volume: CloudVolumeInfo): string {
  const parts = [`keys: ${volume.keys}`, `asked again after ${duration(volume.ttlMs)}`, `write mode ${volume.writeMode}`]
  return [...parts, ...(volume.readOnly ? ['read-only'] : [])].join(', ')
}
