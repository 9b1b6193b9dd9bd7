/** sdmount sync status, wait, retry: what waits to be uploaded to cloud volumes. */
import type { Command } from '../command.ts'
import type { ExitName } from '../exit-codes.ts'
import { askLibrary } from '../library-client.ts'
import type { QueueInfo } from '../service/requests.ts'
import { bytes, count } from '../terminal/format.ts'
import { table } from '../terminal/table.ts'
import { printable, type Terminal } from '../terminal/terminal.ts'
import { libraryOf } from './arguments.ts'
import { QueueProgress } from './queue-progress.ts'

const NAME = { name: 'name', required: false, help: 'one cloud volume; by default all' }

const status: Command = {
  words: ['sync', 'status'],
  summary: 'show what waits to be uploaded, and what went wrong',
  description: `Shows the queue of each cloud volume: how much waits, what is being sent, the last error, and what failed for good. What
failed stays in the queue with its content until \`sync retry\`, or until the volume is removed with \`--discard\`.`,
  arguments: [NAME],
  options: ['library', 'json'],
  examples: [{ line: 'sdmount sync status', does: 'all volumes' }],
  async run(invocation) {
    const { terminal, signal } = invocation
    const name = invocation.bytes('name')
    const { queues } = await askLibrary({
      library: libraryOf(invocation),
      request: 'sync.status',
      arguments: name === undefined ? {} : { name },
      create: false,
      signal,
    })
    if (invocation.option('json')) terminal.print(JSON.stringify(queues.map(queue => ({ ...queue, name: printable(queue.name) }))))
    else printQueues(terminal, queues)
    return 'ok'
  },
}

const wait: Command = {
  words: ['sync', 'wait'],
  summary: 'wait until all is uploaded',
  description: `Waits until nothing is left to be uploaded, with a progress bar, also while a server is away. It ends with an error
when something failed that won't pass by itself.`,
  arguments: [NAME],
  options: ['library'],
  examples: [{ line: 'cp -a work/ ~/Spacedrive/backup/ && sdmount sync wait', does: 'return when the copy is in the bucket' }],
  async run(invocation): Promise<ExitName> {
    const { terminal, signal } = invocation
    const name = invocation.bytes('name')
    const progress = new QueueProgress(terminal)
    const { queues } = await askLibrary({
      library: libraryOf(invocation),
      request: 'sync.wait',
      arguments: name === undefined ? {} : { name },
      create: false,
      signal,
      update: update => progress.show(update.queues),
    }).finally(() => progress.end())
    const failed = queues.filter(queue => queue.failed > 0)
    if (failed.length === 0) {
      terminal.print('everything is uploaded')
      return 'ok'
    }
    printQueues(terminal, failed)
    return 'uploads'
  },
}

const retry: Command = {
  words: ['sync', 'retry'],
  summary: 'try now what failed or waits for another attempt',
  description: 'Uploads that failed are tried again now, and a server that was away is asked at once.',
  arguments: [NAME],
  options: ['library'],
  examples: [{ line: 'sdmount sync retry photos', does: 'one volume' }],
  async run(invocation) {
    const name = invocation.bytes('name')
    const { names } = await askLibrary({
      library: libraryOf(invocation),
      request: 'sync.retry',
      arguments: name === undefined ? {} : { name },
      create: false,
      signal: invocation.signal,
    })
    invocation.terminal.print(`trying again: ${names.map(printable).join(', ') || 'nothing: there are no cloud volumes'}`)
    return 'ok'
  },
}

export const syncCommands: readonly Command[] = [status, wait, retry]

function printQueues(terminal: Terminal, queues: readonly QueueInfo[]): void {
  const rows = queues.map(queue => [
    printable(queue.name),
    queue.state,
    count(queue.queued),
    bytes(queue.queuedBytes),
    count(queue.failed),
    bytes(queue.sentBytes),
  ])
  if (rows.length === 0) terminal.remark('there are no cloud volumes')
  for (const line of table(['VOLUME', 'STATE', 'WAITING', 'SIZE', 'FAILED', 'SENT'], rows)) terminal.print(line)
  for (const queue of queues) {
    for (const work of queue.works) {
      const how = work.state === 'running' ? `${bytes(work.sentBytes)} of ${bytes(work.sizeBytes)}` : bytes(work.sizeBytes)
      const why = work.error === undefined ? '' : `: ${work.error}`
      terminal.print(`  ${printable(queue.name)}  ${work.state}  ${work.does} ${work.name}  ${how}${why}`)
    }
    const more = queue.queued + queue.failed - queue.works.length
    if (more > 0) terminal.print(`  ${printable(queue.name)}  and ${count(more)} more`)
    if (queue.lastError !== undefined) terminal.print(`  ${printable(queue.name)}  last error: ${queue.lastError}`)
  }
}
