/**
 * A tree that answers nothing at once, as one on a network does: every answer is a promise, a read brings its own bytes.
 * Owns: the delay, drawn from a seed, so that answers overtake each other.
 */

import type { OpenFile, RequestContext, Vfs } from '../../../src/vfs/contract.ts'
import { ForwardingVfs } from '../../../src/vfs/forwarding-vfs.ts'

const AT_ONCE = new Set(['negativeTtlMs', 'forget', 'file', 'directory', 'listen', 'idle', 'constructor'])

export function deferredVfs(vfs: Vfs, seed = 1): Vfs {
  let state = seed
  const later = async <T>(act: () => T | Promise<T>): Promise<T> => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    for (let turns = state % 4; turns >= 0; turns--) await new Promise(resolve => setImmediate(resolve))
    return await act()
  }
  // A volume knows its own files only.
  const inners = new WeakMap<OpenFile, OpenFile>()
  const file = (inner: OpenFile): OpenFile => {
    const outer = new Proxy(inner, {
      get(target, key) {
        const value = Reflect.get(target, key, target)
        if (typeof value !== 'function') return value
        if (key === 'read') {
          return (context: RequestContext, position: number, into: Buffer) =>
            later(async () => {
              const bytes = Buffer.alloc(into.length)
              const read = target.read(context, position, bytes)
              return typeof read === 'number' ? bytes.subarray(0, read) : await read
            })
        }
        if (key === 'write') {
          return (context: RequestContext, position: number, data: Buffer, options: object) => {
            // The buffer is the caller's again when the call returned.
            const own = Buffer.from(data)
            return later(() => target.write(context, position, own, options))
          }
        }
        return (...args: unknown[]) =>
          later(() =>
            value.apply(
              target,
              args.map(argument => (typeof argument === 'object' && argument ? (inners.get(argument as OpenFile) ?? argument) : argument)),
            ),
          )
      },
    })
    inners.set(outer, inner)
    return outer
  }
  const deferred = new ForwardingVfs(vfs)
  return new Proxy(deferred, {
    get(target, key) {
      const value = Reflect.get(target, key, target)
      if (typeof value !== 'function' || AT_ONCE.has(String(key))) return typeof value === 'function' ? value.bind(target) : value
      return (...args: unknown[]) =>
        later(async () => {
          const answer = await value.apply(target, args)
          const opened = answer as { readonly file?: OpenFile } | undefined
          return opened?.file ? { ...opened, file: file(opened.file) } : answer
        })
    },
  })
}
