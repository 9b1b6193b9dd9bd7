/**
 * Wiping what this program can't reach itself.
 *
 * Owns: one thing. node:crypto keeps a copy of every key that it was given, in memory of its own, and overwrites it when nobody
 * holds the key object any more, that is, when the garbage collector has found that out: so it is asked to, at once. Call it after
 * the objects were let go. It stops the thread for some tens of milliseconds; not for what happens often.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

let collect: (() => void) | undefined

/** Keys that nobody holds any more are gone from memory when this answers. */
export async function forgetReleasedKeys(): Promise<void> {
  if (!collect) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as () => void
  }
  collect()
  // What was found is released in a task of its own; what held on to that, by the second round.
  await new Promise(resolve => setImmediate(resolve))
  collect()
  await new Promise(resolve => setImmediate(resolve))
}
