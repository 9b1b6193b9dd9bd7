/** The calls that wait for a thread: they end, they are bounded, and what comes too late is taken back. */
import test from 'ava'
import { errorKind, FsError } from '../../src/errors.ts'
import { timedOut, WaitingCalls, type WaitingOptions } from '../../src/vfs/volumes/location/deferred/waiting-calls.ts'

const never = new AbortController().signal

function waiting<T>(options: Partial<WaitingOptions<T>> = {}): WaitingOptions<T> {
  return { ticks: 3, signal: never, bytes: 0, fallback: undefined, undo: undefined, ...options }
}

async function kindOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'no error'
  } catch (error) {
    return errorKind(error) ?? String(error)
  }
}

test('an answer goes to who asked', async t => {
  const calls = new WaitingCalls()
  const ids: number[] = []
  const answers = [1, 2].map(() => calls.add<string>(waiting(), id => ids.push(id)))
  calls.failed(ids[1]!, new FsError('not-empty'))
  calls.answered(ids[0]!, 'one')
  t.is(await answers[0], 'one')
  t.is(await kindOf(answers[1]!), 'not-empty')
  t.is(calls.count, 0)
})

test('ticks say which have waited too long; what they are answered later is taken back', async t => {
  const calls = new WaitingCalls()
  const undone: string[] = []
  const call = calls.add<string>(waiting({ ticks: 2, undo: value => undone.push(value) }), () => {})
  const kind = kindOf(call)
  t.deepEqual(calls.tick(), [])
  const late = calls.tick()
  t.deepEqual(late, [calls.last])
  calls.giveUp(late[0]!, timedOut())
  t.is(await kind, 'timed-out')
  calls.answered(late[0]!, 'too late')
  t.deepEqual(undone, ['too late'])
  calls.answered(late[0]!, 'twice')
  t.deepEqual(undone, ['too late'])
})

test('given up together: what has another answer gets that, and its own is taken back', async t => {
  const calls = new WaitingCalls()
  const undone: string[] = []
  const known = calls.add<string>(waiting({ fallback: () => 'known', undo: value => undone.push(value) }), () => {})
  const unknown = calls.add<string>(
    waiting<string>({
      fallback: () => {
        throw new FsError('offline')
      },
    }),
    () => {},
  )
  const nothing = calls.add<string>(waiting(), () => {})
  const kinds = Promise.all([kindOf(unknown), kindOf(nothing)])
  calls.giveUpAll(timedOut)
  t.is(await known, 'known')
  t.deepEqual(await kinds, ['offline', 'timed-out'])
  calls.answered(1, 'from the thread')
  t.deepEqual(undone, ['from the thread'])
})

test('a signal ends a wait, and what was answered before it counts', async t => {
  const calls = new WaitingCalls()
  const abort = new AbortController()
  const ended = kindOf(calls.add<string>(waiting({ signal: abort.signal }), () => {}))
  const answered = calls.add<string>(waiting({ signal: abort.signal }), () => {})
  abort.abort()
  calls.answered(2, 'answered')
  t.is(await answered, 'answered')
  t.is(await ended, 'interrupted')
  t.throws(() => calls.add<string>(waiting({ signal: abort.signal }), () => {}), { message: 'interrupted' })
})

test('no more wait than memory is there for, in number and in bytes', t => {
  const calls = new WaitingCalls()
  let added = 0
  const fill = (bytes: number) => {
    for (;;) {
      try {
        calls.add(waiting({ bytes }), () => {}).catch(() => {})
      } catch (error) {
        return errorKind(error)
      }
      if (++added > 100_000) return 'no bound'
    }
  }
  t.is(fill(1 << 20), 'busy')
  t.is(added, 128)
  // Room again, once one has its answer.
  calls.answered(1, undefined)
  t.is(fill(0), 'busy')
  t.true(added > 1_000)
  // Those that nobody waits for any more count until the thread has dealt with them.
  calls.giveUpAll(timedOut)
  t.is(calls.count, 0)
  t.is(fill(0), 'busy')
  for (let id = 1; id <= calls.last; id++) calls.leftOut(id)
  calls.answered(calls.last, undefined)
  t.notThrows(() => calls.add(waiting(), () => {}))
})
