/** Which signals let a waiting program go: those that end it, at once or later; the others don't fail its reads. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import test from 'ava'
import { hasEndingSignal, Interruptions } from '../../src/fs/fuse/interruption.ts'
import type { FuseRequest } from '../../src/fs/fuse/request.ts'
import { until } from '../cli/sdmount.ts'

const MINUTE_MS = 60_000

/** What of a request matters here. */
class Asking {
  readonly pid = 7
  interrupts = 0
  interrupt(): void {
    this.interrupts++
  }
  get request(): FuseRequest {
    return this as unknown as FuseRequest
  }
}

test('a program that is ending is let go at once', t => {
  const asking = new Asking()
  new Interruptions(() => true).interrupted(asking.request)
  t.is(asking.interrupts, 1)
})

test('a harmless signal changes nothing; an ending one that comes later does', async t => {
  let isEnding = false
  const interruptions = new Interruptions(thread => thread === 7 && isEnding)
  const [first, answered] = [new Asking(), new Asking()]
  interruptions.interrupted(first.request)
  interruptions.interrupted(first.request)
  interruptions.interrupted(answered.request)
  t.is(first.interrupts, 0)
  interruptions.settled(answered.request)
  isEnding = true
  await until(() => first.interrupts > 0, 'the later signal is seen', MINUTE_MS)
  t.deepEqual([first.interrupts, answered.interrupts], [1, 0])
  interruptions.end()
})

const linux = process.platform === 'linux' ? test : test.skip

linux('what waits for a thread is read from the system', async t => {
  t.true(hasEndingSignal(2 ** 30), 'a thread that is gone')
  t.false(hasEndingSignal(process.pid))
  const child = spawn('sleep', ['600'], { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  await new Promise(resolve => child.once('spawn', resolve))
  // A stopped process takes no signal: they wait.
  child.kill('SIGSTOP')
  const status = () => readFileSync(`/proc/${child.pid}/status`, 'latin1')
  await until(() => /^State:\s*T/m.test(status()), 'it is stopped', MINUTE_MS)
  child.kill('SIGUSR1')
  await until(() => /^ShdPnd:\s*0*[1-9a-f]/m.test(status()), 'the signal waits', MINUTE_MS)
  t.false(hasEndingSignal(child.pid!), status())
  child.kill('SIGTERM')
  t.true(hasEndingSignal(child.pid!), status())
})
