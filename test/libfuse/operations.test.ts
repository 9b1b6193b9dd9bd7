/** The callbacks themselves, without a mount: on Linux and as macOS would call them. */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { Adapter } from '../../src/fs/libfuse/adapter.ts'
import { DARWIN } from '../../src/fs/libfuse/darwin.ts'
import { handleOperations } from '../../src/fs/libfuse/handle-operations.ts'
import { type Host, LINUX } from '../../src/fs/libfuse/host.ts'
import type { FuseMount, FuseStat, Reply } from '../../src/fs/libfuse/library.ts'
import { PathNotifier } from '../../src/fs/libfuse/notifier.ts'
import { pathOperations } from '../../src/fs/libfuse/path-operations.ts'
import { createLog } from '../../src/log.ts'
import type { OpenFile } from '../../src/vfs/contract.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { context } from '../vfs/volume-contract.ts'

const ENOENT = 2
const EIO = 5
const O_RDWR = 2

function world(host: Host = LINUX, readOnly = false) {
  const lines: string[] = []
  const log = createLog(line => lines.push(line))
  const tree = new Tree({ log })
  const memory = new MemoryVolume({ slot: 9 })
  tree.addVolume('v', memory)
  const adapter = new Adapter({ vfs: tree, log, host, readOnly, asking: () => ({ uid: 501, gid: 20, pid: 1, fileInfo: null }) })
  const operations = { ...pathOperations(adapter), ...handleOperations(adapter) }
  /** Calls one and answers what the library would be given. */
  const ask = (call: (reply: Reply) => void): Promise<unknown[]> => new Promise(resolve => call((...values) => resolve(values)))
  const result = async (call: (reply: Reply) => void): Promise<number> => (await ask(call))[0] as number
  return {
    adapter,
    operations,
    memory,
    tree,
    ask,
    result,
    lines,
    value: async <T>(call: (reply: Reply) => void) => (await ask(call))[1] as T,
  }
}

test('a file is made, written and read by its handle', async t => {
  const { operations: o, ask, value, result, adapter, memory } = world()
  const { fd } = await value<{ fd: number }>(reply => o.createWithFlags('/v/file', 0o640, O_RDWR, reply))
  t.is(await result(reply => o.write(null, fd, Buffer.from('hello'), 5, 0, reply)), 5)
  const into = Buffer.alloc(10)
  t.is(await result(reply => o.read(null, fd, into, 10, 1, reply)), 4)
  t.is(into.toString('latin1', 0, 4), 'ello')
  const stat = await value<FuseStat>(reply => o.fgetattr(null, fd, reply))
  t.like(stat, { size: 5, uid: 501, gid: 20, nlink: 1 })
  t.deepEqual(await ask(reply => o.release(null, fd, reply)), [0])
  t.is(await result(reply => o.read(null, fd, into, 10, 0, reply)), -9)
  t.is(adapter.files.size, 0)
  const ino = memory.lookup(context, memory.rootIno, 'file')!.attributes.ino
  memory.unlink(context, memory.rootIno, 'file')
  memory.forget(ino, 1)
  t.is(memory.nodeCount, 1)
})

test('libfuse hides a file that is open: it is unlinked, and its path means it until it is closed', async t => {
  const { operations: o, value, result, adapter, memory } = world()
  const hidden = '/v/.fuse_hidden0000000300000001'
  const { fd } = await value<{ fd: number }>(reply => o.createWithFlags('/v/file', 0o600, O_RDWR, reply))
  t.is(await result(reply => o.renameWithFlags('/v/file', hidden, 0, reply)), 0)
  t.is(memory.lookup(context, memory.rootIno, 'file'), undefined)
  t.is(memory.lookup(context, memory.rootIno, hidden.slice(3)), undefined)
  t.is((await value<FuseStat>(reply => o.getattr(hidden, reply))).nlink, 0)
  t.is(await result(reply => o.chmodWithHandle(hidden, 0, 0o644, reply)), 0)
  const second = await value<{ fd: number }>(reply => o.open(hidden, 0, reply))
  t.is(await result(reply => o.release(null, fd, reply)), 0)
  t.is((await value<FuseStat>(reply => o.getattr(hidden, reply))).mode! & 0o777, 0o644)
  t.is(await result(reply => o.release(null, second.fd, reply)), 0)
  t.is(await result(reply => o.unlink(hidden, reply)), -ENOENT)
  t.is(adapter.hidden.size, 0)
  t.is(memory.nodeCount, 1)
})

test('a file that is not open may have any name', async t => {
  const { operations: o, result, memory } = world()
  const name = '.fuse_hidden0000000300000001'
  memory.forget(memory.mknod(context, memory.rootIno, 'file', 0o644, 0).attributes.ino, 1)
  t.is(await result(reply => o.renameWithFlags('/v/file', `/v/${name}`, 0, reply)), 0)
  t.truthy(memory.lookup(context, memory.rootIno, name))
})

test('hidden files follow the folder that is renamed', async t => {
  const { operations: o, value, result } = world()
  for (const path of ['/v/a', '/v/b']) await result(reply => o.mkdir(path, 0o755, reply))
  const { fd } = await value<{ fd: number }>(reply => o.createWithFlags('/v/a/file', 0o600, O_RDWR, reply))
  await result(reply => o.renameWithFlags('/v/a/file', '/v/a/.fuse_hidden0000000300000001', 0, reply))
  t.is(await result(reply => o.renameWithFlags('/v/a', '/v/b', 2, reply)), 0)
  t.is(await result(reply => o.getattr('/v/b/.fuse_hidden0000000300000001', reply)), 0)
  t.is(await result(reply => o.getattr('/v/a/.fuse_hidden0000000300000001', reply)), -ENOENT)
  t.is(await result(reply => o.renameWithFlags('/v/b', '/v/c', 0, reply)), 0)
  t.is(await result(reply => o.getattr('/v/c/.fuse_hidden0000000300000001', reply)), 0)
  t.is(await result(reply => o.release(null, fd, reply)), 0)
})

test('what throws is answered, and a bug leaves one line', async t => {
  const { operations: o, result, tree, lines } = world()
  Object.assign(tree, {
    statfs: () => {
      throw new TypeError('a bug')
    },
    readlink: () => Promise.reject(new TypeError('another')),
  })
  t.is(await result(reply => o.statfs('/v', reply)), -EIO)
  t.is(await result(reply => o.readlink('/v', reply)), -EIO)
  t.is(lines.filter(line => line.includes(' error ')).length, 2)
  t.regex(lines[0]!, /statfs of \/v failed unexpectedly: a bug/)
  t.is(await result(reply => o.getattr('/v/none', reply)), -ENOENT)
  t.is(await result(reply => o.getattr('/v/\ufffd', reply)), -84)
})

test('a path that turned out stale is looked for once more', async t => {
  const { operations: o, result, tree } = world()
  let times = 0
  const { getxattr } = tree
  Object.assign(tree, {
    getxattr(...given: Parameters<typeof getxattr>) {
      if (times++ === 0) throw new FsError('stale')
      return getxattr.apply(tree, given)
    },
  })
  t.is(await result(reply => o.getxattr('/v', 'user.none', 0, reply)), -61)
  t.is(times, 2)
  Object.assign(tree, {
    getxattr() {
      times++
      throw new FsError('stale')
    },
  })
  t.is(await result(reply => o.getxattr('/v', 'user.none', 0, reply)), -116)
  t.is(times, 4)
})

test('answers that come later carry their own bytes; unmounting ends who waits', async t => {
  const { operations: o, value, result, adapter, tree } = world()
  const { fd } = await value<{ fd: number }>(reply => o.createWithFlags('/v/file', 0o600, O_RDWR, reply))
  const file: OpenFile = tree.file(fd)
  Object.assign(file, { read: () => sleep(5).then(() => Buffer.from('later')) })
  const into = Buffer.alloc(10)
  t.is(await result(reply => o.read(null, fd, into, 10, 0, reply)), 5)
  t.is(into.toString('latin1', 0, 5), 'later')
  Object.assign(file, {
    read: (who: { signal: AbortSignal }) =>
      new Promise((_, reject) => who.signal.addEventListener('abort', () => reject(who.signal.reason))),
  })
  const waiting = result(reply => o.read(null, fd, into, 10, 0, reply))
  t.is(adapter.statistics().waiting, 1)
  adapter.end()
  t.is(await waiting, -123)
  t.is(adapter.statistics().waiting, 0)
})

test('a folder is listed in pieces, each entry once', async t => {
  const { operations: o, ask, value, memory } = world()
  const names = Array.from({ length: 1_500 }, (_, i) => (i % 3 === 0 ? '\xe9'.repeat(90) + i : `n${i}`))
  for (const name of names) memory.mknod(context, memory.rootIno, name, 0o644, 0)
  const { fd } = await value<{ fd: number }>(reply => o.opendir('/v', 0, reply))
  const listed: string[] = []
  for (let offset = 0n; ; ) {
    const [, texts, , nexts] = (await ask(reply => o.readdirPaged(null, fd, offset, reply))) as [number, string[], unknown, bigint[]]
    if (texts.length === 0) break
    // The kernel takes fewer than it is given.
    const taken = Math.min(texts.length, 37)
    listed.push(...texts.slice(0, taken))
    offset = nexts[taken - 1]!
  }
  t.deepEqual(listed.sort(), ['.', '..', ...names.filter(name => name.startsWith('n'))].sort())
  t.is((await ask(reply => o.releasedir(null, fd, reply)))[0], 0)
})

test('a folder of names that can not be shown is not taken for one that ends early', async t => {
  const { operations: o, ask, value, memory } = world()
  for (let i = 0; i < 1_200; i++) memory.mknod(context, memory.rootIno, '\xe9'.repeat(90) + i, 0o644, 0)
  memory.mknod(context, memory.rootIno, 'last', 0o644, 0)
  const { fd } = await value<{ fd: number }>(reply => o.opendir('/v', 0, reply))
  const [, first, , nexts] = (await ask(reply => o.readdirPaged(null, fd, 0, reply))) as [number, string[], unknown, bigint[]]
  t.deepEqual(first, ['.', '..'])
  const [, rest] = (await ask(reply => o.readdirPaged(null, fd, nexts.at(-1)!, reply))) as [number, string[]]
  t.deepEqual(rest, ['last'])
})

test('a read-only mount refuses what changes, and serves the rest', async t => {
  const { operations: o, result } = world(LINUX, true)
  const EROFS = -30
  t.is(await result(reply => o.mkdir('/v/d', 0o755, reply)), EROFS)
  t.is(await result(reply => o.createWithFlags('/v/f', 0o644, O_RDWR, reply)), EROFS)
  t.is(await result(reply => o.open('/v', O_RDWR, reply)), EROFS)
  t.is(await result(reply => o.chmodWithHandle('/v', 0, 0, reply)), EROFS)
  t.is(await result(reply => o.getattr('/v', reply)), 0)
})

test('macOS: errors and flags have its numbers', async t => {
  const { operations: o, result, value } = world(DARWIN)
  t.is(await result(reply => o.mkdir('/v/d', 0o755, reply)), 0)
  const O_CREAT = 0x200
  const O_APPEND = 0x8
  const { fd } = await value<{ fd: number }>(reply => o.createWithFlags('/v/d/file', 0o644, O_RDWR | O_CREAT | O_APPEND, reply))
  t.is(await result(reply => o.write(null, fd, Buffer.from('one'), 3, 0, reply)), 3)
  t.is(await result(reply => o.write(null, fd, Buffer.from('two'), 3, 0, reply)), 3)
  t.is((await value<FuseStat>(reply => o.getattr('/v/d/file', reply))).size, 6)
  t.is(await result(reply => o.rmdir('/v/d', reply)), -66)
  t.is(await result(reply => o.renameWithFlags('/v/d/file', '/v/d', 4, reply)), -17)
  t.is(await result(reply => o.getattr(`/v/${'n'.repeat(256)}`, reply)), -63)
  t.is(o.ioctl, undefined)
})

test('macOS: attributes are in the user namespace, resource forks are written in pieces', async t => {
  const { operations: o, result, value, memory } = world(DARWIN)
  const fork = 'com.apple.ResourceFork'
  t.is(await result(reply => o.getxattr('/v', fork, 0, reply)), -93)
  t.is(await result(reply => o.setxattr('/v', fork, Buffer.from('abcdef'), 0, 0, reply)), 0)
  t.is(await result(reply => o.setxattr('/v', fork, Buffer.from('XYZ'), 4, 0, reply)), 0)
  t.is(String(await value<Buffer>(reply => o.getxattr('/v', fork, 0, reply))), 'abcdXYZ')
  t.is(String(await value<Buffer>(reply => o.getxattr('/v', fork, 5, reply))), 'YZ')
  t.is(await result(reply => o.setxattr('/v', fork, Buffer.from('x'), 2 ** 31, 0, reply)), -7)
  memory.setxattr(context, memory.rootIno, 'security.x', Buffer.from('y'), 0)
  t.deepEqual(await value<string[]>(reply => o.listxattr('/v', reply)), [fork])
  t.deepEqual(memory.listxattr(context, memory.rootIno), [`user.${fork}`, 'security.x'])
  t.is(await result(reply => o.removexattr('/v', fork, reply)), 0)
})

test('macOS: room is counted in blocks', async t => {
  const { operations: o, value, tree } = world(DARWIN)
  const room = { blocks: 10, blocksFree: 5, blocksAvailable: 4, files: 3, filesFree: 2, nameLengthBytes: 255 }
  Object.assign(tree, { statfs: () => ({ blockSizeBytes: 65_536, fragmentSizeBytes: 4096, ...room }) })
  t.like(await value(reply => o.statfs('/v', reply)), { bsize: 4096, frsize: 65_536, blocks: 10, bavail: 4 })
})

test('the kernel is told of volumes that come and go, outside of any callback', async t => {
  const { adapter, tree } = world()
  const told: string[] = []
  const mount: Pick<FuseMount, 'invalidateEntry'> = {
    invalidateEntry(path, done) {
      told.push(path)
      setTimeout(done, 5)
    },
  }
  const notifier = new PathNotifier(adapter.resolver, mount)
  const unlisten = tree.listen(notifier)
  tree.addVolume('w', new MemoryVolume({ id: 2, slot: 10 }))
  t.is(notifier.pending, 1)
  await notifier.settled()
  t.is(notifier.pending, 0)
  t.deepEqual(told, ['/w'])
  await tree.removeVolume(2)
  notifier.entryChanged(12345, 'below')
  await notifier.settled()
  t.deepEqual(told, ['/w', '/w'])
  unlisten()
  notifier.close()
})
