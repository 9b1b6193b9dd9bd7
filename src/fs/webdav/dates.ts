/**
 * Dates as HTTP and WebDAV write them.
 * Owns: formatting and parsing, by whole seconds since 1970. Pure.
 */

/** RFC 9110: `Sun, 06 Nov 1994 08:49:37 GMT`. */
export function httpDate(sec: number): string {
  return new Date(clampSec(sec) * 1000).toUTCString()
}

/** RFC 3339: `1994-11-06T08:49:37Z`. */
export function isoDate(sec: number): string {
  return `${new Date(clampSec(sec) * 1000).toISOString().slice(0, -5)}Z`
}

/** Seconds of an HTTP date in any of its three forms; undefined when it is none. */
export function parseHttpDate(text: string): number | undefined {
  const trimmed = text.trim()
  const known =
    /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(trimmed) ||
    /^[A-Z][a-z]+day, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT$/.test(trimmed) ||
    /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/.test(trimmed)
  if (!known) return undefined
  const ms = Date.parse(trimmed.endsWith('GMT') ? trimmed : `${trimmed} GMT`)
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000)
}

/** Years 0 to 9999: what both forms can say. A file may carry more. */
function clampSec(sec: number): number {
  return Math.min(Math.max(Math.floor(sec), -62_135_596_800), 253_402_300_799)
}
