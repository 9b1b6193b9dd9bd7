/** Notifications: each at its layout, coalesced by what they concern, and never in the way. */
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { Notifier } from '../../src/fs/fuse/notifier.ts'
import { linux } from '../../src/sys/linux.ts'

const SOCK_SEQPACKET_NONBLOCK = 5 | 0o4000
const INO = 2 ** 52 + 77

interface Notification {
  readonly code: number
  readonly body: Buffer
}

function connected(t: ExecutionContext): { notifier: Notifier; received: (count: number) => Promise<Notification[]> } {
  const sys = linux()
  const pair = Buffer.alloc(8)
  if (sys.socketpair(1, SOCK_SEQPACKET_NONBLOCK, 0, pair) < 0) throw new Error('socketpair')
  const [ours, theirs] = [pair.readInt32LE(0), pair.readInt32LE(4)]
  const notifier = new Notifier(theirs)
  t.teardown(async () => {
    await notifier.close()
    sys.close(ours)
    sys.close(theirs)
  })
  const buffer = Buffer.alloc(4096)
  return {
    notifier,
    async received(count) {
      const found: Notification[] = []
      for (let tries = 0; found.length < count && tries < 1000; tries++) {
        for (let length = sys.read(ours, buffer); length > 0; length = sys.read(ours, buffer)) {
          const message = Buffer.from(buffer.subarray(0, length))
          t.is(message.readUInt32LE(0), length)
          t.is(message.readBigUInt64LE(8), 0n, 'a notification has no request')
          found.push({ code: message.readInt32LE(4), body: message.subarray(16) })
        }
        await delay(2)
      }
      return found
    },
  }
}

test('a changed node: attributes alone, or its data too', async t => {
  const { notifier, received } = connected(t)
  notifier.inodeChanged(INO, false)
  notifier.inodeChanged(INO + 1, true)
  const [attributes, data] = await received(2)
  for (const [message, ino, offset] of [
    [attributes!, INO, -1n],
    [data!, INO + 1, 0n],
  ] as const) {
    t.is(message.code, 2)
    t.is(message.body.length, 24)
    t.is(Number(message.body.readBigUInt64LE(0)), ino)
    t.is(message.body.readBigInt64LE(8), offset)
    t.is(message.body.readBigInt64LE(16), 0n)
  }
})

test('a changed and a removed name: bytes, length and NUL', async t => {
  const { notifier, received } = connected(t)
  const name = '\xff\xfe'.repeat(127)
  notifier.entryChanged(INO, name)
  notifier.entryRemoved(INO, 'gone', INO + 5)
  const [changed, removed] = await received(2)
  t.is(changed!.code, 3)
  t.is(Number(changed!.body.readBigUInt64LE(0)), INO)
  t.is(changed!.body.readUInt32LE(8), 254)
  t.is(changed!.body.toString('latin1', 16), `${name}\0`)
  t.is(removed!.code, 6)
  t.is(Number(removed!.body.readBigUInt64LE(0)), INO)
  t.is(Number(removed!.body.readBigUInt64LE(8)), INO + 5)
  t.is(removed!.body.readUInt32LE(16), 4)
  t.is(removed!.body.toString('latin1', 24), 'gone\0')
})

test('what is told again and again is told once; data is not lost to attributes', async t => {
  const { notifier, received } = connected(t)
  for (let i = 0; i < 1000; i++) {
    notifier.inodeChanged(INO, i === 500)
    notifier.entryChanged(1, 'name')
    notifier.entryChanged(1, `name${i % 3}`)
  }
  t.true(notifier.pending <= 5)
  const messages = await received(5)
  t.is(messages.length, 5)
  t.is(messages.find(message => message.code === 2)!.body.readBigInt64LE(8), 0n)
})

test('the last word on a name wins', async t => {
  const { notifier, received } = connected(t)
  notifier.entryRemoved(1, 'name', 7)
  notifier.entryChanged(1, 'name')
  const messages = await received(1)
  t.deepEqual(
    messages.map(message => message.code),
    [3],
  )
})

test('after close nothing is sent', async t => {
  const { notifier, received } = connected(t)
  notifier.inodeChanged(INO, true)
  await notifier.settled()
  await notifier.close()
  notifier.inodeChanged(INO + 1, true)
  await delay(20)
  t.is((await received(1)).length, 1)
})
