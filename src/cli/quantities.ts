/**
 * Amounts as people type them: sizes, rates, times.
 *
 * Owns: the grammar. Must stay true: what isn't understood is a CommandError 'usage' that shows how it should read; nothing is
 * rounded to zero.
 */
import { CommandError } from './exit-codes.ts'

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }
const TIMES_MS: Readonly<Record<string, number>> = { ms: 1, '': 1000, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 }

/** `10G`, `1.5GiB`, `500m`, `4096`: bytes, in powers of 1024. */
export function parseSize(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim())
  const sizeBytes = match ? Math.round(Number(match[1]) * UNITS[match[2]!.toUpperCase()]!) : 0
  if (!match || sizeBytes < 1 || !Number.isSafeInteger(sizeBytes))
    throw new CommandError('usage', `--${option} ${text}: say a size like 500M or 20G`)
  return sizeBytes
}

/** `1M:10M`, `500K` (both), `off:2M`: bytes a second up and down; null: without limit. */
export function parseRates(text: string, option: string): { readonly up: number | null; readonly down: number | null } {
  const rate = (part: string) => (/^(off|0|unlimited)$/i.test(part.trim()) ? null : parseSize(part.replace(/\/s$/, ''), option))
  const [up, down, ...more] = text.split(':')
  if (more.length > 0) throw new CommandError('usage', `--${option} ${text}: say it as UP:DOWN, for example 1M:10M`)
  return { up: rate(up!), down: rate(down ?? up!) }
}

const TRANSFERS_LIMIT = 128

/** `4:16`, `8` (both): how many up and down. */
export function parseTransfers(text: string, option: string): { readonly up: number; readonly down: number } {
  const match = /^(\d{1,4})(?::(\d{1,4}))?$/.exec(text.trim())
  const up = Number(match?.[1])
  const down = Number(match?.[2] ?? match?.[1])
  if (!match || up < 1 || down < 1 || up > TRANSFERS_LIMIT || down > TRANSFERS_LIMIT)
    throw new CommandError('usage', `--${option} ${text}: say it as UP:DOWN, from 1 to ${TRANSFERS_LIMIT} each, for example 4:16`)
  return { up, down }
}

/** `90s`, `10m`, `1h`, `60` (seconds): milliseconds. */
export function parseTime(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?$/.exec(text.trim())
  const ms = match ? Math.round(Number(match[1]) * TIMES_MS[match[2] ?? '']!) : -1
  if (ms < 0 || ms > 366 * TIMES_MS.d!) throw new CommandError('usage', `--${option} ${text}: say a time like 90s, 10m or 1h`)
  return ms
}
