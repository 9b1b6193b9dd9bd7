/** sdmount status: mounts, volumes, index, memory. */

import type { Name } from '../../vfs/contract.ts'
import type { Command, Invocation } from '../command.ts'
import { askLibrary } from '../library-client.ts'
import { resolveLibrary } from '../paths.ts'
import type { LibraryStatus, QueueInfo } from '../service/requests.ts'
import { bytes, count, duration } from '../terminal/format.ts'
import { table } from '../terminal/table.ts'
import { printable } from '../terminal/terminal.ts'

const UNREADABLE_SHOWN = 5

const status: Command = {
  words: ['status'],
  summary: 'show mounts, volumes, the index and memory',
  description: `Shows where the library is mounted, the state of each volume (online, offline, scanning with counts and rate), the
size of the index and the memory of the background process. "deferred" is a location that has a thread of its own, since its
filesystem may hang. \`--json\` prints the same for programs, with more numbers;
fields are only ever added to it.`,
  arguments: [],
  options: ['library', 'json'],
  examples: [
    { line: 'sdmount status', does: 'for people' },
    { line: "sdmount status --json | jq '.volumes[].state'", does: 'for programs' },
  ],
  async run(invocation) {
    const library = resolveLibrary(invocation.option('library'), invocation.environment)
    const answer = await askLibrary({ library, request: 'status', arguments: {}, create: false, signal: invocation.signal })
    if (invocation.option('json')) invocation.terminal.print(JSON.stringify(forPrograms(answer), undefined, 2))
    else printStatus(invocation, answer)
    return 'ok'
  },
}

export const statusCommands: readonly Command[] = [status]

function printStatus({ terminal }: Invocation, answer: LibraryStatus): void {
  terminal.print(`library   ${answer.library}`)
  if (answer.mounts.length === 0) terminal.print('mount     not mounted')
  for (const mount of answer.mounts) {
    terminal.print(`mount     ${mount.mountpoint}${mount.readOnly ? ' (read-only)' : ''}, for ${duration(Date.now() - mount.sinceMs)}`)
  }
  terminal.print(`index     ${count(answer.index.entries)} entries, ${bytes(answer.index.bytes)}`)
  if (answer.daemon) terminal.print(`process   ${answer.daemon.pid}, ${bytes(answer.daemon.rssBytes)} of memory`)
  if (answer.volumes.length === 0) terminal.print('volumes   none: add a folder with sdmount location add PATH')
  else terminal.print('')
  const rows = answer.volumes.map(v => [printable(v.name), stateOf(v), count(v.entries), placeOf(v)])
  for (const line of table(['VOLUME', 'STATE', 'ENTRIES', 'FOLDER'], rows)) terminal.print(line)
  for (const { name, cloud } of answer.volumes)
    if (cloud && cloud.queue.queued + cloud.queue.failed > 0) terminal.print(queueLine(name, cloud.queue))
  for (const volume of answer.volumes) {
    if (volume.unreadable.length > 0) terminal.print('')
    for (const { path, reason } of volume.unreadable.slice(0, UNREADABLE_SHOWN)) {
      terminal.print(`not readable in ${printable(volume.name)}: ${printable(path) || '.'} (${reason})`)
    }
    const more = volume.unreadable.length - UNREADABLE_SHOWN
    if (more > 0) terminal.print(`not readable in ${printable(volume.name)}: ${more} more, see --json`)
  }
}

function placeOf(volume: LibraryStatus['volumes'][number]): string {
  return volume.cloud?.address ?? (volume.path === undefined ? volume.kind : printable(volume.path))
}

function queueLine(name: Name, queue: QueueInfo): string {
  const waits = queue.queued > 0 ? [`${count(queue.queued)} changes to upload, ${bytes(queue.queuedBytes)} (${queue.state})`] : []
  const failed = queue.failed > 0 ? [`${count(queue.failed)} failed: see sdmount sync status`] : []
  return `${printable(name)}: ${[...waits, ...failed].join('; ')}`
}

function stateOf(volume: LibraryStatus['volumes'][number]): string {
  const state = volume.drive === 'deferred' ? `${volume.state} (deferred)` : volume.state
  if (volume.state === 'scanning' && volume.scan)
    return `${state}: ${count(volume.scan.entries)} at ${count(Math.round(volume.scan.entriesPerSecond))}/s`
  return volume.detail === undefined ? state : `${state}: ${volume.detail}`
}

/** Names are text for programs: UTF-8, with odd bytes as \xNN. */
function forPrograms(answer: LibraryStatus): unknown {
  return {
    ...answer,
    volumes: answer.volumes.map(volume => ({
      ...volume,
      name: printable(volume.name),
      ...(volume.path === undefined ? {} : { path: printable(volume.path) }),
      ...(volume.cloud === undefined ? {} : { cloud: { ...volume.cloud, queue: { ...volume.cloud.queue, name: printable(volume.name) } } }),
      unreadable: volume.unreadable.map(({ path, reason }) => ({ path: printable(path), reason })),
    })),
  }
}
