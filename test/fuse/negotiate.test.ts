/** INIT: what is switched on depends on what the kernel offers, and nothing else is. */
import test from 'ava'
import * as P from '../../src/fs/fuse/protocol.ts'
import { silentLog } from '../../src/log.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { FakeKernel, initArguments } from './kernel.ts'

async function hello(major: number, minor: number, flags: number, flags2: number | undefined, passthrough = false) {
  const kernel = new FakeKernel(new Tree({ log: silentLog }), { passthrough })
  try {
    const answer = await kernel.ask(P.Op.INIT, 0, initArguments(major, minor, flags, flags2))
    const word = (n: number) => answer.body.readUInt32LE(n * 4)
    if (answer.errno !== 0) return { errno: answer.errno, kernel }
    return {
      errno: 0,
      kernel,
      major: word(0),
      minor: word(1),
      maxReadahead: word(2),
      flags: word(3),
      maxBackground: answer.body.readUInt16LE(16),
      congestion: answer.body.readUInt16LE(18),
      maxWrite: word(5),
      timeGranularity: word(6),
      maxPages: answer.body.readUInt16LE(28),
      flags2: word(8),
      maxStackDepth: word(9),
      bytes: answer.body.length,
    }
  } finally {
    await kernel.end()
  }
}

const ALL = 0xffff_ffff

test('a current kernel: 64 bytes, our version, nothing that was not offered', async t => {
  const said = await hello(7, 44, ALL, ALL)
  t.like(said, { errno: 0, major: 7, bytes: 64, timeGranularity: 1, maxWrite: 1 << 20, maxPages: 256, maxReadahead: 131_072 })
  t.true(said.maxBackground! > 0 && said.congestion! > 0 && said.congestion! <= said.maxBackground!)
  for (const [name, flag] of Object.entries({
    FUSE_DO_READDIRPLUS: P.FUSE_DO_READDIRPLUS,
    FUSE_ATOMIC_O_TRUNC: P.FUSE_ATOMIC_O_TRUNC,
    FUSE_POSIX_ACL: P.FUSE_POSIX_ACL,
    FUSE_HANDLE_KILLPRIV_V2: P.FUSE_HANDLE_KILLPRIV_V2,
    FUSE_MAX_PAGES: P.FUSE_MAX_PAGES,
    FUSE_DONT_MASK: P.FUSE_DONT_MASK,
  }))
    t.true((said.flags! & flag) !== 0, name)
  // What would change the meaning of requests that aren't served.
  const FUSE_POSIX_LOCKS = 1 << 1
  const FUSE_FLOCK_LOCKS = 1 << 10
  const FUSE_WRITEBACK_CACHE = 1 << 16
  const FUSE_NO_OPEN_SUPPORT = 1 << 17
  const FUSE_NO_OPENDIR_SUPPORT = 1 << 24
  t.is(said.flags! & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT), 0)
  t.is(said.flags2! & P.FUSE_PASSTHROUGH, 0)
  t.is(said.maxStackDepth, 0)
})

test('each offer alone: what is answered is a part of it', async t => {
  for (let bit = 0; bit < 32; bit++) {
    const offered = (1 << bit) >>> 0
    const first = await hello(7, 44, offered, undefined)
    t.is((first.flags! & ~offered) >>> 0, 0, `flag ${bit}`)
    t.is(first.flags2, 0)
    const second = await hello(7, 44, P.FUSE_INIT_EXT, offered, true)
    t.is((second.flags2! & ~offered) >>> 0, 0, `flag ${bit + 32}`)
  }
})

test('flags2 counts only with FUSE_INIT_EXT', async t => {
  const said = await hello(7, 44, ALL & ~P.FUSE_INIT_EXT, ALL, true)
  t.is(said.flags2, 0)
  t.is(said.maxStackDepth, 0)
})

test('passthrough is asked for when wished for and offered', async t => {
  const said = await hello(7, 44, ALL, ALL, true)
  t.true((said.flags2! & P.FUSE_PASSTHROUGH) !== 0)
  t.is(said.maxStackDepth, 1)
})

test('a kernel that is too old is told so, and the mount fails with a line', async t => {
  for (const minor of [0, 12, 23, 30]) {
    const said = await hello(7, minor, ALL, undefined)
    t.is(said.errno, 71)
    await t.throwsAsync(said.kernel.channel.ready, { message: /too old/ })
  }
  t.is((await hello(6, 99, ALL, undefined)).errno, 71)
})

test('the oldest kernel that is served', async t => {
  const said = await hello(7, 31, 0x03ff_ffff, undefined)
  t.is(said.errno, 0)
  await t.notThrowsAsync(said.kernel.channel.ready.catch(error => t.regex(String(error), /unmounted/)))
})

test('a newer major version is answered with ours, and asks again', async t => {
  const kernel = new FakeKernel(new Tree({ log: silentLog }))
  try {
    const first = await kernel.ask(P.Op.INIT, 0, initArguments(8, 3, ALL, ALL))
    t.is(first.errno, 0)
    t.is(first.body.readUInt32LE(0), 7)
    const second = await kernel.ask(P.Op.INIT, 0, initArguments(7, 44, ALL, ALL))
    t.is(second.errno, 0)
    await t.notThrowsAsync(kernel.channel.ready)
  } finally {
    await kernel.end()
  }
})

test('a newer minor version is answered with ours', async t => {
  const said = await hello(7, 99, ALL, ALL)
  t.is(said.errno, 0)
  t.true(said.minor! <= 44)
})
