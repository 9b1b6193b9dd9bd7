/** sdmount limits: what cloud volumes may take of disk, memory and network, all in one place. */
import type { Command, Invocation } from '../command.ts'
import { askLibrary } from '../library-client.ts'
import { parseRates, parseSize, parseTransfers } from '../quantities.ts'
import type { LimitChanges } from '../service/limits.ts'
import { bytes } from '../terminal/format.ts'
import { libraryOf } from './arguments.ts'

/** The options that set limits: of `limits`, and of the mount. */
export const LIMIT_OPTIONS = ['cache-size', 'bwlimit', 'transfers', 'memory'] as const

const limits: Command = {
  words: ['limits'],
  summary: 'show or set what cloud volumes may take of disk, memory and network',
  description: `Without options it shows the limits. With options it sets them, for this mount and for all to come; \`sdmount MOUNTPOINT\`
takes the same options. They hold at once, save that of memory, which holds from the next mount on.`,
  arguments: [],
  options: ['library', ...LIMIT_OPTIONS, 'json'],
  examples: [
    { line: 'sdmount limits', does: 'shows them' },
    { line: 'sdmount limits --bwlimit 1M:off --cache-size 50G', does: 'upload with at most 1 MiB/s, 50 GiB of cache' },
  ],
  async run(invocation) {
    const { terminal, signal } = invocation
    const changes = limitChanges(invocation)
    const { limits } = await askLibrary({
      library: libraryOf(invocation),
      request: 'limits',
      arguments: { changes },
      create: Object.keys(changes).length > 0,
      signal,
    })
    if (invocation.option('json')) {
      terminal.print(JSON.stringify(limits))
      return 'ok'
    }
    const rate = (value: number | null) => (value === null ? 'without limit' : `${bytes(value)}/s`)
    terminal.print(`cache      at most ${bytes(limits.cacheBytes)} of disk`)
    terminal.print(`memory     ${bytes(limits.memoryBytes)} for what is being read`)
    terminal.print(`upload     ${rate(limits.uploadBytesPerSecond)}, ${limits.uploadsAtOnce} at once of each volume`)
    terminal.print(`download   ${rate(limits.downloadBytesPerSecond)}, ${limits.downloadsAtOnce} at once of each volume`)
    return 'ok'
  },
}

export const limitsCommands: readonly Command[] = [limits]

/** What the options of a command change. */
export function limitChanges(invocation: Invocation): LimitChanges {
  const cacheSize = invocation.option('cache-size')
  const bwlimit = invocation.option('bwlimit')
  const transfers = invocation.option('transfers')
  const memory = invocation.option('memory')
  const rates = bwlimit === undefined ? undefined : parseRates(bwlimit, 'bwlimit')
  const atOnce = transfers === undefined ? undefined : parseTransfers(transfers, 'transfers')
  return {
    ...(cacheSize === undefined ? {} : { cacheBytes: parseSize(cacheSize, 'cache-size') }),
    ...(memory === undefined ? {} : { memoryBytes: parseSize(memory, 'memory') }),
    ...(rates === undefined ? {} : { uploadBytesPerSecond: rates.up, downloadBytesPerSecond: rates.down }),
    ...(atOnce === undefined ? {} : { uploadsAtOnce: atOnce.up, downloadsAtOnce: atOnce.down }),
  }
}
