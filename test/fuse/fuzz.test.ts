/**
 * The wire decoder against everything: random requests, well-formed ones with absurd values, truncated ones. Each that
 * must be answered is answered once, by an operating error or a result; nothing ends the channel, nothing hangs.
 *
 * SEED=n replays a run.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import * as P from '../../src/fs/fuse/protocol.ts'
import { silentLog } from '../../src/log.ts'
import { linux } from '../../src/sys/linux.ts'
import type { Vfs, Volume } from '../../src/vfs/contract.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { openLocation } from '../../src/vfs/volumes/location/location.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { MemoryIndex } from '../support/memory-index.ts'
import { SeededRandom, seedOf } from '../support/random.ts'
import { FakeKernel, named, words } from './kernel.ts'

const SEED = seedOf(process.env)
const REQUESTS = 12_000
/** So many are sent before the answers are taken: the socket must never be full. */
const BURST = 40
const SILENT: readonly number[] = [P.Op.FORGET, P.Op.BATCH_FORGET, P.Op.INTERRUPT]
const { Op } = P

/** What numbers are tried where one is expected. */
const NUMBERS = [
  0n,
  1n,
  2n,
  7n,
  511n,
  4096n,
  65_536n,
  1n << 20n,
  (1n << 31n) - 1n,
  1n << 31n,
  (1n << 32n) - 1n,
  1n << 40n,
  (1n << 53n) - 1n,
  (1n << 62n) + 1n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
]
const NAMES = [
  'a',
  'b',
  'c',
  'd',
  'memory',
  'location',
  '',
  '.',
  '..',
  'a/b',
  '/',
  'x'.repeat(255),
  'x'.repeat(256),
  '\xff\xfe',
  '\n',
  'user.a',
  'system.posix_acl_access',
  'security.capability',
  'trusted.a',
]

/** Nothing between 1 MiB and what every filesystem refuses: room that is kept beyond the end of a file has no limit but the disk. */
function bounded(lengthBytes: bigint): bigint {
  return lengthBytes > 1n << 20n && lengthBytes < 1n << 62n ? lengthBytes % (1n << 20n) : lengthBytes
}

/** Makes requests as a kernel would, with values that none would send. */
class Generator {
  readonly inos: bigint[] = [1n]
  readonly handles: bigint[] = [0n, 1n]
  readonly #random: SeededRandom

  constructor(random: SeededRandom) {
    this.#random = random
  }

  #number(): bigint {
    return this.#random.below(3) === 0 ? BigInt(this.#random.below(10_000)) : this.#random.pick(NUMBERS)
  }
  #word = (): number => Number(BigInt.asUintN(32, this.#number()))
  #handle = (): bigint => (this.#random.below(10) === 0 ? this.#number() : this.#random.pick(this.handles))
  #name = (): string => this.#random.pick(NAMES)
  #bytes = (limit: number): Buffer => {
    const bytes = Buffer.alloc(this.#random.below(limit))
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#random.below(256)
    return bytes
  }
  ino(): bigint {
    return this.#random.below(8) === 0 ? this.#number() : this.#random.pick(this.inos)
  }
  /** Mostly one that a program would use. */
  #flags(): number {
    return this.#random.below(4) === 0 ? this.#word() : this.#random.pick([0, 1, 2, 0o2001, 0o1002, 0o102])
  }
  #mode(type: number): number {
    return this.#random.below(4) === 0 ? this.#word() : type | this.#random.below(0o10000)
  }

  /** Arguments of each operation (include/uapi/linux/fuse.h). */
  arguments(opcode: number): Buffer {
    const n = () => this.#number()
    const w = this.#word
    const h = this.#handle
    const name = this.#name
    switch (opcode) {
      case Op.LOOKUP:
      case Op.UNLINK:
      case Op.RMDIR:
      case Op.REMOVEXATTR:
        return named(name())
      case Op.FORGET:
        return words(n())
      case Op.BATCH_FORGET:
        return words(this.#random.below(4), 0, this.ino(), n(), this.ino(), n())
      case Op.GETATTR:
        return words(this.#random.below(2), 0, h())
      case Op.STATX:
        return words(this.#random.below(2), 0, h(), w(), w())
      case Op.SETATTR:
        return words(w() & 0xfff, 0, h(), n(), n(), n(), n(), n(), w(), w(), w(), this.#mode(0), 0, w(), w(), 0)
      case Op.SYMLINK:
        return named(name(), this.#random.below(3) === 0 ? 'x'.repeat(this.#random.below(5000)) : name())
      case Op.MKNOD:
        return words(this.#mode(this.#random.pick([0o100000, 0o010000, 0o140000, 0o020000])), w(), w(), 0, named(name()))
      case Op.MKDIR:
        return words(this.#mode(0), w(), named(name()))
      case Op.RENAME:
        return words(this.ino(), named(name(), name()))
      case Op.RENAME2:
        return words(this.ino(), this.#random.below(2) ? w() : this.#random.below(8), 0, named(name(), name()))
      case Op.LINK:
        return words(this.ino(), named(name()))
      case Op.OPEN:
      case Op.OPENDIR:
        return words(this.#flags(), w() & 1)
      case Op.READ:
      case Op.READDIR:
      case Op.READDIRPLUS:
        return words(h(), n(), this.#random.below(2) ? w() : 4096, 0, 0n, w(), 0)
      case Op.WRITE: {
        const data = this.#bytes(300)
        return words(h(), n(), this.#random.below(5) === 0 ? w() : data.length, w() & 7, 0n, this.#flags(), 0, data)
      }
      case Op.RELEASE:
      case Op.RELEASEDIR:
        return words(h(), w(), w(), 0n)
      case Op.FSYNC:
      case Op.FSYNCDIR:
        return words(h(), w() & 1, 0)
      case Op.SETXATTR: {
        const data = this.#bytes(100)
        return words(this.#random.below(5) === 0 ? w() : data.length, w() & 3, w() & 1, 0, named(name()), data)
      }
      case Op.GETXATTR:
        return words(w(), 0, named(name()))
      case Op.LISTXATTR:
        return words(w(), 0)
      case Op.FLUSH:
        return words(h(), 0, 0, 0n)
      case Op.ACCESS:
        return words(w(), 0)
      case Op.CREATE:
        return words(this.#flags(), this.#mode(0), w(), 0, named(name()))
      case Op.TMPFILE:
        return words(this.#flags(), this.#mode(0), w(), 0, named(name()))
      case Op.INTERRUPT:
        return words(n())
      case Op.IOCTL:
        return words(
          h(),
          w() & 31,
          this.#random.pick([0x80086601, 0x40086602, 0x801c581f, 0x401c5820, 0x5401, w()]),
          0n,
          this.#random.below(3) ? 28 : w(),
          w(),
          this.#bytes(64),
        )
      case Op.FALLOCATE:
        return words(h(), n(), bounded(n()), this.#random.pick([0, 1, 2, 3, 8, 16, 17, 32, 64, w()]), 0)
      case Op.LSEEK:
        return words(h(), n(), this.#random.below(6), 0)
      case Op.COPY_FILE_RANGE:
        return words(h(), n(), this.ino(), h(), n(), n(), 0n)
      case Op.SYNCFS:
        return words(0n)
      default:
        return this.#bytes(200)
    }
  }
}

async function fuzz(t: ExecutionContext, vfs: Vfs, roots: readonly number[], noise: boolean): Promise<void> {
  t.log(`SEED=${SEED}`)
  const random = new SeededRandom(SEED)
  const generator = new Generator(random)
  const kernel = await FakeKernel.start(vfs)
  t.teardown(() => kernel.end())
  generator.inos.push(...roots.map(BigInt))
  const opcodes = Object.values(Op).filter(opcode => opcode !== Op.INIT && opcode !== Op.DESTROY)
  for (let sent = 0; sent < REQUESTS; ) {
    const expected = new Map<bigint, number>()
    for (let i = 0; i < BURST; i++, sent++) {
      const opcode = random.below(20) === 0 ? random.below(70) : random.pick(opcodes)
      if (opcode === Op.INIT || opcode === Op.DESTROY) continue
      let args = noise
        ? Buffer.from(Array.from({ length: random.below(200) }, () => random.pick([0, 97, 98, random.below(256)])))
        : generator.arguments(opcode)
      // Some are cut, some have a bit or two turned.
      if (random.below(10) === 0) args = args.subarray(0, random.below(args.length + 1))
      if (args.length > 0 && random.below(10) === 0) {
        const at = random.below(args.length)
        args[at] = args[at]! ^ (1 << random.below(8))
      }
      const unique = kernel.send(opcode, generator.ino(), args, {
        uid: random.pick([0, 0, 1000, 0xffff_fffe]),
        gid: random.pick([0, 1000]),
      })
      if (!SILENT.includes(opcode)) expected.set(unique, opcode)
    }
    for (const [unique, opcode] of expected) {
      const answer = await kernel.answer(unique)
      const name = P.OP_NAMES[opcode] ?? opcode
      t.true(answer.errno >= 0 && answer.errno < 134, `${name} answered ${answer.errno}`)
      if (answer.errno !== 0) t.is(answer.body.length, 0, `${name}: an error comes alone`)
      if (answer.errno !== 0) continue
      if (opcode === Op.LOOKUP || opcode === Op.MKDIR || opcode === Op.MKNOD || opcode === Op.CREATE) {
        const ino = answer.body.readBigUInt64LE(0)
        if (ino !== 0n && generator.inos.length < 60) generator.inos.push(ino)
      }
      if (opcode === Op.OPEN || opcode === Op.OPENDIR) generator.handles.push(answer.body.readBigUInt64LE(0))
      if (opcode === Op.CREATE || opcode === Op.TMPFILE) generator.handles.push(answer.body.readBigUInt64LE(128))
      if (generator.handles.length > 60) generator.handles.splice(2, 20)
    }
  }
  t.deepEqual(kernel.untaken, [], 'nothing was answered twice')
  // A socket, unlike /dev/fuse, has no room for a megabyte (EMSGSIZE).
  const complaints = kernel.complaints.filter(line => !line.includes('with errno 90'))
  t.deepEqual(complaints.slice(0, 5), [], 'every refusal is an operating error, and every answer was taken')
  t.is((await kernel.ask(Op.STATFS, 1, Buffer.alloc(0))).errno, 0)
  t.is(kernel.channel.statistics().waiting, 0)
}

function treeOf(volume: Volume, tree: Tree): Tree {
  tree.addVolume(volume.kind, volume)
  return tree
}

for (const noise of [false, true]) {
  const what = noise ? 'noise' : 'requests with absurd values'
  test.serial(`a volume in memory: ${what} (SEED=${SEED})`, async t => {
    const volume = new MemoryVolume({ capacityBytes: 1 << 26 })
    await fuzz(t, treeOf(volume, new Tree({ log: silentLog })), [volume.rootIno], noise)
  })

  test.serial(`a location: ${what} (SEED=${SEED})`, async t => {
    if (process.platform !== 'linux') return t.log('skipped: needs Linux')
    const path = mkdtempSync(join(tmpdir(), 'sdmount-fuzz-'))
    t.teardown(() => rmSync(path, { recursive: true, force: true }))
    limitFiles()
    if (process.getuid?.() === 0) limitFolder(t, path)
    const index = new MemoryIndex()
    const tree = new Tree({ log: silentLog })
    const location = openLocation({
      record: index.addVolume('location', 'location', { path }),
      index,
      log: silentLog,
      listener: tree.listener,
      ownMountpoints: () => [],
      routeSlot: (slot, volume) => tree.routeSlot(slot, volume),
    })
    t.teardown(() => location.close())
    await fuzz(t, treeOf(location, tree), [location.rootIno], noise)
  })
}

/** A bit that was turned makes large lengths of small ones: the folder has a small filesystem of its own where that can be had. */
function limitFolder(t: ExecutionContext, path: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'sdmount-fuzz', path])
  t.teardown(() => execFileSync('umount', ['-l', path]))
}

/** Absurd sizes must not fill the disk of whoever runs the tests. */
function limitFiles(): void {
  const RLIMIT_FSIZE = 1
  process.on('SIGXFSZ', () => {})
  linux().setrlimit(RLIMIT_FSIZE, 16 << 20, 16 << 20)
}
