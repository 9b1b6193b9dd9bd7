/** The channel and the dispatch: layouts, one reply each, interrupts, and errors that nobody expected. */
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { OPERATIONS } from '../../src/fs/fuse/dispatch.ts'
import * as P from '../../src/fs/fuse/protocol.ts'
import { silentLog } from '../../src/log.ts'
import { Attributes, type Entry, type RequestContext, S_IFDIR, S_IFREG, type Vfs } from '../../src/vfs/contract.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { FakeKernel, named, words } from './kernel.ts'

const EIO = 5
const EINVAL = 22
const EROFS = 30
const ENOSYS = 38

async function withKernel<T>(vfs: Vfs, body: (kernel: FakeKernel) => Promise<T>, readOnly = false): Promise<T> {
  const kernel = await FakeKernel.start(vfs, { readOnly })
  try {
    return await body(kernel)
  } finally {
    await kernel.end()
  }
}

function memoryTree(): { tree: Tree; volume: MemoryVolume } {
  const volume = new MemoryVolume({ slot: 1 })
  const tree = new Tree({ log: silentLog })
  tree.addVolume('memory', volume)
  return { tree, volume }
}

/** A tree of which some operations are replaced. */
function treeWith(replaced: Partial<Vfs>): Vfs {
  const { tree } = memoryTree()
  return new Proxy(tree as Vfs, {
    get(target, key) {
      if (key in replaced) return replaced[key as keyof Vfs]
      const value = target[key as keyof Vfs] as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

const extreme = Object.assign(new Attributes(), {
  ino: 2 ** 52 + 12_345,
  mode: S_IFREG | 0o7654,
  nlink: 65_000,
  uid: 4_294_967_294,
  gid: 65_534,
  rdev: 0xffff_ffff,
  sizeBytes: 2 ** 52 + 1,
  blocks: 2 ** 43 + 7,
  blockSizeBytes: 4096,
  atimeSec: -1,
  atimeNsec: 999_999_999,
  mtimeSec: 2 ** 34 + 5,
  mtimeNsec: 1,
  ctimeSec: -(2 ** 33),
  ctimeNsec: 0,
})

/** struct fuse_attr (include/uapi/linux/fuse.h), read byte by byte. */
function decodeAttributes(b: Buffer, at: number) {
  return {
    ino: Number(b.readBigUInt64LE(at)),
    sizeBytes: Number(b.readBigUInt64LE(at + 8)),
    blocks: Number(b.readBigUInt64LE(at + 16)),
    atimeSec: Number(b.readBigInt64LE(at + 24)),
    mtimeSec: Number(b.readBigInt64LE(at + 32)),
    ctimeSec: Number(b.readBigInt64LE(at + 40)),
    atimeNsec: b.readUInt32LE(at + 48),
    mtimeNsec: b.readUInt32LE(at + 52),
    ctimeNsec: b.readUInt32LE(at + 56),
    mode: b.readUInt32LE(at + 60),
    nlink: b.readUInt32LE(at + 64),
    uid: b.readUInt32LE(at + 68),
    gid: b.readUInt32LE(at + 72),
    rdev: b.readUInt32LE(at + 76),
    blockSizeBytes: b.readUInt32LE(at + 80),
  }
}

const { btimeSec: _s, btimeNsec: _n, ...shown } = { ...extreme }

test('attributes: every field at its place, times before 1970 and after 2106 too', async t => {
  const vfs = treeWith({ getattr: () => ({ attributes: extreme, attributeTtlMs: 61_234 }) })
  await withKernel(vfs, async kernel => {
    const { errno, body } = await kernel.ask(P.Op.GETATTR, 1, words(0, 0, 0n))
    t.is(errno, 0)
    t.is(body.length, 104)
    t.is(Number(body.readBigUInt64LE(0)), 61)
    t.is(body.readUInt32LE(8), 234_000_000)
    t.deepEqual(decodeAttributes(body, 16), shown)
  })
})

test('an entry: node, generation, both times to live, attributes', async t => {
  const entry: Entry = { attributes: extreme, generation: 0xdead_beef, entryTtlMs: 600_001, attributeTtlMs: 999 }
  await withKernel(treeWith({ lookup: () => entry }), async kernel => {
    const { errno, body } = await kernel.ask(P.Op.LOOKUP, 1, named('x'))
    t.is(errno, 0)
    t.is(body.length, 128)
    t.is(Number(body.readBigUInt64LE(0)), extreme.ino)
    t.is(Number(body.readBigUInt64LE(8)), 0xdead_beef)
    t.is(Number(body.readBigUInt64LE(16)), 600)
    t.is(Number(body.readBigUInt64LE(24)), 0)
    t.is(body.readUInt32LE(32), 1_000_000)
    t.is(body.readUInt32LE(36), 999_000_000)
    t.deepEqual(decodeAttributes(body, 40), shown)
  })
})

test('a missing name: ENOENT, or an entry without a node that says for how long', async t => {
  await withKernel(treeWith({ lookup: () => undefined, negativeTtlMs: () => 0 }), async kernel => {
    t.is((await kernel.ask(P.Op.LOOKUP, 1, named('x'))).errno, 2)
  })
  await withKernel(treeWith({ lookup: () => undefined, negativeTtlMs: () => 1500 }), async kernel => {
    const { errno, body } = await kernel.ask(P.Op.LOOKUP, 1, named('x'))
    t.is(errno, 0)
    t.is(Number(body.readBigUInt64LE(0)), 0)
    t.is(Number(body.readBigUInt64LE(16)), 1)
    t.is(body.readUInt32LE(32), 500_000_000)
  })
})

test('a listing: entries aligned to eight bytes, each name and offset as it was given', async t => {
  const names = Array.from({ length: 255 }, (_, i) => '\xe9'.repeat(i + 1))
  const tree = treeWith({
    directory: () => ({
      ino: 1,
      keepCache: false,
      read: (_context, offset, _withAttributes, sink) => {
        for (let i = Number(offset & 0xffffn); i < names.length; i++)
          if (!sink.add(names[i]!, i + 10, S_IFDIR, (0x7fff_ffff_0000n << 16n) | BigInt(i + 1), undefined)) return
      },
      fsync: () => {},
      release: () => {},
    }),
  })
  await withKernel(tree, async kernel => {
    const found: string[] = []
    for (let offset = 0n; ; ) {
      const { errno, body } = await kernel.ask(P.Op.READDIR, 1, words(0n, offset, 4096, 0, 0n, 0, 0))
      t.is(errno, 0)
      t.true(body.length <= 4096)
      if (body.length === 0) break
      for (let at = 0; at < body.length; ) {
        const length = body.readUInt32LE(at + 16)
        t.is(Number(body.readBigUInt64LE(at)), found.length + 10)
        t.is(body.readUInt32LE(at + 20), 4)
        offset = body.readBigUInt64LE(at + 8)
        found.push(body.toString('latin1', at + 24, at + 24 + length))
        const padded = (24 + length + 7) & ~7
        t.true(body.subarray(at + 24 + length, at + padded).every(byte => byte === 0))
        at += padded
      }
    }
    t.deepEqual(found, names)
  })
})

test('an error that nobody expected is EIO and one line of the log, and the channel goes on', async t => {
  const thrown: unknown[] = [new TypeError('oops'), 'a string', undefined, null, { kind: 'not-found' }]
  for (const error of thrown)
    for (const late of [false, true]) {
      const vfs = treeWith({
        getattr: () => {
          if (late) return Promise.reject(error)
          throw error
        },
      })
      await withKernel(vfs, async kernel => {
        t.is((await kernel.ask(P.Op.GETATTR, 1, words(0, 0, 0n))).errno, EIO)
        t.is(kernel.complaints.length, 1)
        t.regex(kernel.complaints[0]!, /getattr of node 1/)
        t.is((await kernel.ask(P.Op.STATFS, 1, Buffer.alloc(0))).errno, 0)
        t.is(kernel.channel.statistics().waiting, 0)
      })
    }
})

test('what an encoder can not encode is EIO too', async t => {
  const vfs = treeWith({ readlink: () => undefined as never, listxattr: () => [1, 2] as never })
  await withKernel(vfs, async kernel => {
    t.is((await kernel.ask(P.Op.READLINK, 1, Buffer.alloc(0))).errno, EIO)
    t.is((await kernel.ask(P.Op.STATFS, 1, Buffer.alloc(0))).errno, 0)
  })
})

test('each kind of operating error comes as its errno, without a line in the log', async t => {
  const vfs = treeWith({
    access: (_context, _ino, mask) => {
      throw new FsError(mask === 1 ? 'text-busy' : mask === 2 ? 'offline' : 'corrupt')
    },
  })
  await withKernel(vfs, async kernel => {
    for (const [mask, errno] of [
      [1, 26],
      [2, 123],
      [4, 117],
    ] as const)
      t.is((await kernel.ask(P.Op.ACCESS, 1, words(mask, 0))).errno, errno)
    t.deepEqual(kernel.complaints, [])
  })
})

/** No process has this number: it was ended. */
const GONE = 2 ** 30

test('a request that waits keeps nobody else waiting, and an interrupt reaches it', async t => {
  const waits: RequestContext[] = []
  const vfs = treeWith({
    access: context => {
      waits.push(context)
      return new Promise((_, reject) => context.signal.addEventListener('abort', () => reject(context.signal.reason)))
    },
  })
  await withKernel(vfs, async kernel => {
    const first = kernel.send(P.Op.ACCESS, 1, words(0, 0), { pid: GONE })
    const second = kernel.send(P.Op.ACCESS, 1, words(0, 0), { pid: GONE })
    t.is((await kernel.ask(P.Op.STATFS, 1, Buffer.alloc(0))).errno, 0)
    t.is(kernel.channel.statistics().waiting, 2)
    kernel.send(P.Op.INTERRUPT, 0, words(second))
    t.is((await kernel.answer(second)).errno, 4)
    t.is(kernel.channel.statistics().waiting, 1)
    t.false(waits[0]!.signal.aborted)
    // Interrupts of what isn't there, or was answered, are nothing.
    kernel.send(P.Op.INTERRUPT, 0, words(999_999n))
    kernel.send(P.Op.INTERRUPT, 0, words(second))
    kernel.send(P.Op.INTERRUPT, 0, words(first))
    t.is((await kernel.answer(first)).errno, 4)
    t.deepEqual(kernel.untaken, [])
  })
})

test('the end of the mount ends what waits', async t => {
  let ended = false
  const vfs = treeWith({
    access: context =>
      new Promise((_, reject) =>
        context.signal.addEventListener('abort', () => {
          ended = true
          reject(context.signal.reason)
        }),
      ),
  })
  const kernel = await FakeKernel.start(vfs)
  kernel.send(P.Op.ACCESS, 1, words(0, 0))
  await kernel.ask(P.Op.STATFS, 1, Buffer.alloc(0))
  await kernel.end()
  t.true(ended)
})

test('every operation refuses a request that is too short, at each length, with one answer', async t => {
  const { tree, volume } = memoryTree()
  await withKernel(tree, async kernel => {
    for (const [opcode, operation] of OPERATIONS.entries()) {
      if (!operation) continue
      for (let length = 0; length < operation.least; length++) {
        const { errno } = await kernel.ask(opcode, volume.rootIno, Buffer.alloc(length))
        t.is(errno, EINVAL, `${P.OP_NAMES[opcode]} with ${length} bytes`)
      }
    }
    for (const opcode of [P.Op.FORGET, P.Op.BATCH_FORGET, P.Op.INTERRUPT])
      for (let length = 0; length < 8; length++) kernel.send(opcode, 2, Buffer.alloc(length))
    // A count that says more than there is.
    kernel.send(P.Op.BATCH_FORGET, 0, words(0xffff_ffff, 0, 1n, 1n))
    t.is((await kernel.ask(P.Op.STATFS, 1, Buffer.alloc(0))).errno, 0)
    t.deepEqual(kernel.untaken, [])
  })
})

test('operations that are not served say so', async t => {
  await withKernel(memoryTree().tree, async kernel => {
    for (const opcode of [
      0,
      7,
      19,
      P.Op.GETLK,
      P.Op.SETLK,
      P.Op.SETLKW,
      P.Op.BMAP,
      P.Op.POLL,
      P.Op.NOTIFY_REPLY,
      48,
      49,
      53,
      63,
      64,
      1000,
      4096,
      0xffff_ffff,
    ])
      t.is((await kernel.ask(opcode, 1, Buffer.alloc(64))).errno, ENOSYS, `opcode ${opcode}`)
  })
})

test('bytes that are no request are left without an answer, and the channel goes on', async t => {
  await withKernel(memoryTree().tree, async kernel => {
    for (const length of [1, 4, 16, 39]) kernel.sendRaw(Buffer.alloc(length, 0xff))
    kernel.send(P.Op.STATFS, 1, Buffer.alloc(0), { claimedBytes: 41 })
    kernel.send(P.Op.STATFS, 1, Buffer.alloc(0), { claimedBytes: 0xffff_ffff })
    t.is((await kernel.ask(P.Op.STATFS, 1, Buffer.alloc(0))).errno, 0)
    t.deepEqual(kernel.untaken, [])
  })
})

test('names that are none are refused', async t => {
  const { tree, volume } = memoryTree()
  await withKernel(tree, async kernel => {
    const root = volume.rootIno
    for (const [name, errno] of [
      ['x'.repeat(256), 36],
      ['.', EINVAL],
      ['..', EINVAL],
      ['a/b', EINVAL],
      ['', EINVAL],
    ] as const) {
      t.is((await kernel.ask(P.Op.LOOKUP, root, named(name))).errno, errno, `lookup ${name}`)
      t.is((await kernel.ask(P.Op.MKDIR, root, words(0o755, 0, named(name)))).errno, errno, `mkdir ${name}`)
      t.is((await kernel.ask(P.Op.UNLINK, root, named(name))).errno, errno, `unlink ${name}`)
      t.is((await kernel.ask(P.Op.RMDIR, root, named(name))).errno, errno, `rmdir ${name}`)
      t.is((await kernel.ask(P.Op.RENAME, root, words(BigInt(root), named(name, 'b')))).errno, errno, `rename ${name}`)
      t.is((await kernel.ask(P.Op.RENAME, root, words(BigInt(root), named('b', name)))).errno, errno, `rename to ${name}`)
      t.is((await kernel.ask(P.Op.CREATE, root, words(2, 0o644, 0, 0, named(name)))).errno, errno, `create ${name}`)
      t.is((await kernel.ask(P.Op.SYMLINK, root, named(name, 'target'))).errno, errno, `symlink ${name}`)
    }
    // A name without its NUL.
    t.is((await kernel.ask(P.Op.LOOKUP, root, Buffer.from('name'))).errno, EINVAL)
    t.is(volume.nodeCount, 1)
  })
})

test('a read-only mount refuses what would change something, and nothing else', async t => {
  const { tree, volume } = memoryTree()
  await withKernel(
    tree,
    async kernel => {
      for (const [opcode, operation] of OPERATIONS.entries()) {
        if (!operation) continue
        const { errno } = await kernel.ask(opcode, volume.rootIno, Buffer.alloc(128))
        if (operation.mutates) t.is(errno, EROFS, P.OP_NAMES[opcode])
        else t.not(errno, EROFS, P.OP_NAMES[opcode])
      }
      const file = await kernel.ask(P.Op.OPEN, volume.rootIno, words(1, 0))
      t.is(file.errno, EROFS)
    },
    true,
  )
})

test('references are counted: FORGET and BATCH_FORGET let nodes go', async t => {
  const { tree, volume } = memoryTree()
  await withKernel(tree, async kernel => {
    const root = volume.rootIno
    const inos: bigint[] = []
    for (let i = 0; i < 10; i++) {
      const made = await kernel.ask(P.Op.MKNOD, root, words(0o100644, 0, 0, 0, named(`f${i}`)))
      inos.push(made.body.readBigUInt64LE(0))
      await kernel.ask(P.Op.LOOKUP, root, named(`f${i}`))
      await kernel.ask(P.Op.UNLINK, root, named(`f${i}`))
    }
    t.is(volume.nodeCount, 11)
    for (const ino of inos.slice(0, 5)) kernel.send(P.Op.FORGET, ino, words(2n))
    kernel.send(P.Op.BATCH_FORGET, 0, words(5, 0, ...inos.slice(5).flatMap(ino => [ino, 2n])))
    await kernel.ask(P.Op.STATFS, 1, Buffer.alloc(0))
    t.is(volume.nodeCount, 1)
  })
})

test('a reply that the kernel refuses is told once, and the channel goes on', async t => {
  // A reply of a megabyte doesn't fit into the socket, as one that is too long doesn't fit on /dev/fuse.
  const vfs = treeWith({ getxattr: () => Buffer.alloc((1 << 20) - 100) })
  await withKernel(vfs, async kernel => {
    const unique = kernel.send(P.Op.GETXATTR, 1, words(1 << 20, 0, named('user.a')))
    t.is((await kernel.ask(P.Op.STATFS, 1, Buffer.alloc(0))).errno, 0)
    const answer = await kernel.answer(unique)
    t.true(answer.errno === EIO || answer.body.length > 0)
  })
})
