/**
 * The name of what lost against somebody else's change: `name.conflict-<device>-<date>.ext`.
 * Owns: that form. Must stay true: it is a name (255 bytes at most), the extension stays, so that programs know what it is.
 */
import type { Name } from '../../contract.ts'

const NAME_LIMIT_BYTES = 255
const EXTENSION = /^(.+?)((?:\.tar)?\.[A-Za-z0-9]{1,8})$/

/** `count`: how many of that name are taken. */
export function conflictName(name: Name, device: string, nowMs: number, count: number): Name {
  const date = new Date(nowMs).toISOString().slice(0, 19).replaceAll(':', '').replace('T', '-')
  const mark = `.conflict-${device}-${date}${count === 0 ? '' : `-${count}`}`
  const [, stem = name, extension = ''] = EXTENSION.exec(name) ?? []
  return cut(stem, NAME_LIMIT_BYTES - mark.length - extension.length) + mark + extension
}

/** Not in the middle of a UTF-8 character. */
function cut(name: Name, lengthBytes: number): Name {
  if (name.length <= lengthBytes) return name
  let end = lengthBytes
  while (end > 0 && (name.charCodeAt(end) & 0xc0) === 0x80) end--
  return name.slice(0, end)
}
