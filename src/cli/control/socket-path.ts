/**
 * The address of a library's control socket. The kernel takes 108 bytes for such a path, and a library's may be longer.
 *
 * Owns: the way around that limit (Linux: through a descriptor of the directory).
 */
import { closeSync, openSync } from 'node:fs'
import { basename, dirname } from 'node:path'

const PATH_LIMIT_BYTES = 100

/** A path for bind(2) and connect(2) that means `path`; valid until disposed of. */
export function shortSocketPath(path: string): { readonly path: string } & Disposable {
  if (Buffer.byteLength(path) <= PATH_LIMIT_BYTES) return { path, [Symbol.dispose]() {} }
  const fd = openSync(dirname(path), 'r')
  return { path: `/proc/self/fd/${fd}/${basename(path)}`, [Symbol.dispose]: () => closeSync(fd) }
}
