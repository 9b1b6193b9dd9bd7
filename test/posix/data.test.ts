/** POSIX: reading and writing, sizes, holes, copies, memory maps. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import {
  FALLOC_COLLAPSE_RANGE,
  FALLOC_INSERT_RANGE,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  FALLOC_ZERO_RANGE,
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_DSYNC,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../src/sys/flags.ts'
import { linux } from '../../src/sys/linux.ts'
import { MAP_PRIVATE, MAP_SHARED, MS_SYNC, PROT_READ, PROT_WRITE, testCalls } from '../support/system-calls.ts'
import { semantic, tick } from './suite.ts'

const GIB = 2 ** 30
const SEEK_SET = 0
const SEEK_CUR = 1
const SEEK_END = 2

/** Bytes that differ from block to block. */
function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0, x = seed; i < length; i++) {
    x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0
    bytes[i] = x >>> 16
  }
  return bytes
}

semantic('write and read at every boundary', (w, t) => {
  const fd = w.fd('f', O_RDWR | O_CREAT)
  const bytes = pattern(70_000)
  t.is(w.pwrite(fd, bytes, 0), 70_000)
  for (const [length, position] of [
    [1, 0],
    [4096, 0],
    [4096, 4095],
    [1, 69_999],
    [100, 69_990],
    [1, 70_000],
    [10, 1_000_000],
    [0, 0],
    [65_536, 1234],
  ] as const)
    t.deepEqual(w.pread(fd, length, position), bytes.subarray(position, position + length), `${length} at ${position}`)
  t.is(w.pread(fd, 1, -1), 'EINVAL')
  t.is(w.pwrite(fd, 'x', -1), 'EINVAL')
  w.close(fd)
  t.is(w.attributes('f').size, 70_000)
})

semantic('a large write arrives whole, across request sizes', (w, t) => {
  const bytes = pattern(5_000_001, 7)
  w.write('f', bytes)
  t.true(Buffer.from(w.read('f'), 'latin1').equals(bytes))
  const fd = w.fd('f', O_RDWR)
  t.is(w.pwrite(fd, pattern(3_000_000, 9), 1_234_567), 3_000_000)
  pattern(3_000_000, 9).copy(bytes, 1_234_567)
  w.close(fd)
  t.true(Buffer.from(w.read('f'), 'latin1').equals(bytes))
})

semantic('a write changes mtime and ctime, a read neither', (w, t) => {
  w.write('f', 'x')
  const before = w.attributes('f')
  tick()
  t.is(w.read('f'), 'x')
  t.like(w.attributes('f'), { mtime: before.mtime, ctime: before.ctime })
  const fd = w.fd('f', O_RDWR)
  w.pwrite(fd, 'y', 0)
  const after = w.fattributes(fd)
  t.true(after.mtime > before.mtime && after.ctime > before.ctime)
  w.close(fd)
  t.like(w.attributes('f'), { mtime: after.mtime, ctime: after.ctime })
})

semantic('what one descriptor wrote, another reads at once, also one that was open before', (w, t) => {
  w.write('f', 'before')
  const [a, b] = [w.fd('f', O_RDWR), w.fd('f', O_RDONLY)]
  t.is(w.content(b), 'before')
  w.pwrite(a, 'AFTER!!', 0)
  t.is(w.content(b), 'AFTER!!')
  t.is(w.fattributes(b).size, 7)
  t.is(w.attributes('f').size, 7)
  w.ftruncate(a, 2)
  t.is(w.content(b), 'AF')
  t.is(w.seek(b, 0, SEEK_END), 2)
  w.close(a)
  w.close(b)
})

semantic('truncate: smaller, larger, through a path and a descriptor, and the times', (w, t) => {
  w.write('f', 'content')
  const before = w.attributes('f')
  tick()
  t.is(w.truncate('f', 3), 0)
  t.true(w.attributes('f').mtime > before.mtime && w.attributes('f').ctime > before.ctime)
  t.is(w.read('f'), 'con')
  t.is(w.truncate('f', 6), 0)
  t.is(w.read('f'), 'con\0\0\0')
  t.is(w.truncate('f', 1), 0)
  t.is(w.truncate('f', 4), 0)
  t.is(w.read('f'), 'c\0\0\0')
  const fd = w.fd('f', O_RDWR)
  t.is(w.ftruncate(fd, 100_000), 0)
  t.is(w.fattributes(fd).size, 100_000)
  t.is(w.ftruncate(fd, 0), 0)
  t.is(w.fattributes(fd).blocks, 0)
  t.is(w.ftruncate(fd, -1), 'EINVAL')
  w.close(fd)
  t.is(w.truncate('f', -1), 'EINVAL')
  w.mkdir('d')
  t.is(w.truncate('d', 0), 'EISDIR')
})

semantic('truncate to half of a page clears the rest for a later extension', (w, t) => {
  w.write('f', pattern(8192))
  const fd = w.fd('f', O_RDWR)
  w.pread(fd, 8192, 0)
  w.ftruncate(fd, 5000)
  w.ftruncate(fd, 8192)
  const tail = w.pread(fd, 4096, 5000) as Buffer
  t.true(tail.every(byte => byte === 0))
  w.pwrite(fd, 'end', 20_000)
  t.true((w.pread(fd, 11_808, 8192) as Buffer).every(byte => byte === 0))
  w.close(fd)
})

semantic('sizes beyond what the filesystem holds say EFBIG', (w, t) => {
  w.write('f', 'content')
  const fd = w.fd('f', O_RDWR)
  for (const huge of [2 ** 53 - 8192, 2 ** 53, 2 ** 60, 2 ** 62, 2 ** 63 - 4096]) {
    if (w.ftruncate(fd, huge) !== 'EFBIG') return t.log('skipped: this filesystem holds any size')
    t.is(w.truncate('f', huge), 'EFBIG')
    t.is(w.pwrite(fd, 'x', huge), 'EFBIG')
    t.is(w.fallocate(fd, 0, huge, 4096), 'EFBIG')
    t.is(w.fallocate(fd, 0, 0, huge), 'EFBIG')
    t.is(w.pread(fd, 10, huge)?.length, 0)
    t.is(w.seek(fd, huge, SEEK_DATA), 'ENXIO')
    w.copyRange(fd, 0, fd, huge, 5)
    w.copyRange(fd, huge, fd, 100, 5)
  }
  w.seek(fd, -(2 ** 62), SEEK_DATA)
  w.seek(fd, -1, SEEK_HOLE)
  t.is(w.attributes('f').size, 7)
  w.close(fd)
})

semantic('a sparse file of more than 4 GiB', (w, t) => {
  const fd = w.fd('f', O_RDWR | O_CREAT)
  for (const gib of [0, 1, 4, 5]) t.is(w.pwrite(fd, `at ${gib}`, gib * GIB + 17), 4)
  t.is(w.pwrite(fd, 'across', 4 * GIB - 3), 6)
  t.is(w.fattributes(fd).size, 5 * GIB + 21)
  t.true(w.fattributes(fd).blocks * 512 < 1_000_000)
  for (const gib of [0, 1, 5]) t.is(String(w.pread(fd, 4, gib * GIB + 17)), `at ${gib}`)
  t.is(String(w.pread(fd, 6, 4 * GIB - 3)), 'across')
  t.is(w.seek(fd, -4, SEEK_END), 5 * GIB + 17)
  t.is(w.append(fd, 'END'), 3)
  t.is(String(w.pread(fd, 4, 5 * GIB + 17)), 'END5')
  t.is(w.ftruncate(fd, 4 * GIB + 1), 0)
  t.is(w.attributes('f').size, 4 * GIB + 1)
  t.is(w.seek(fd, GIB + 4096 * 4, SEEK_DATA), 4 * GIB - 4096)
  w.close(fd)
})

semantic('lseek: SET, CUR, END, and what is refused', (w, t) => {
  w.write('f', '0123456789')
  const fd = w.fd('f', O_RDWR)
  t.is(w.seek(fd, 4, SEEK_SET), 4)
  t.is(w.seek(fd, 3, SEEK_CUR), 7)
  t.is(w.seek(fd, -2, SEEK_END), 8)
  t.is(w.seek(fd, 5, SEEK_END), 15)
  t.is(w.seek(fd, -1, SEEK_SET), 'EINVAL')
  t.is(w.seek(fd, -11, SEEK_END), 'EINVAL')
  t.is(w.seek(fd, 0, 99), 'EINVAL')
  w.close(fd)
})

semantic('SEEK_DATA and SEEK_HOLE find what is written and what is not', async (w, t) => {
  const fd = w.fd('f', O_RDWR | O_CREAT)
  const MIB = 1 << 20
  w.pwrite(fd, pattern(4096), MIB)
  w.pwrite(fd, pattern(4096), 3 * MIB)
  w.ftruncate(fd, 4 * MIB)
  await w.fsync(fd)
  t.is(w.seek(fd, 0, SEEK_DATA), MIB)
  t.is(w.seek(fd, 0, SEEK_HOLE), 0)
  t.is(w.seek(fd, MIB, SEEK_HOLE), MIB + 4096)
  t.is(w.seek(fd, MIB + 4096, SEEK_DATA), 3 * MIB)
  t.is(w.seek(fd, 3 * MIB + 4096, SEEK_DATA), 'ENXIO')
  t.is(w.seek(fd, 4 * MIB, SEEK_DATA), 'ENXIO')
  t.is(w.seek(fd, 4 * MIB, SEEK_HOLE), 'ENXIO')
  t.is(w.seek(fd, 5 * MIB, SEEK_HOLE), 'ENXIO')
  w.close(fd)
})

semantic('fallocate: plain, keep size, punch, zero, and what is refused', (w, t) => {
  const bytes = pattern(64 << 10)
  w.write('f', bytes)
  const fd = w.fd('f', O_RDWR)
  const expected = () => Buffer.from(w.content(fd), 'latin1')
  t.is(w.fallocate(fd, 0, 60 << 10, 8 << 10), 0)
  t.is(w.fattributes(fd).size, 68 << 10)
  t.is(w.fallocate(fd, FALLOC_KEEP_SIZE, 68 << 10, 1 << 20), 0)
  t.is(w.fattributes(fd).size, 68 << 10)
  t.true(w.fattributes(fd).blocks * 512 >= 1 << 20)
  // What the filesystem has no word for, it must refuse in the same way through the mount.
  w.fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 4096, 8192)
  const punched = expected()
  t.true(punched.subarray(4096, 12_288).every(byte => byte === 0))
  t.true(punched.subarray(0, 4096).equals(bytes.subarray(0, 4096)))
  w.fallocate(fd, FALLOC_ZERO_RANGE, 20_000, 5000)
  expected()
  w.fallocate(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 100_000, 5000)
  expected()
  w.stat('f')
  t.is(w.fallocate(fd, FALLOC_PUNCH_HOLE, 0, 4096), 'ENOTSUP')
  t.is(w.fallocate(fd, 0, 0, 0), 'EINVAL')
  t.is(w.fallocate(fd, 0, -1, 10), 'EINVAL')
  t.is(w.fallocate(fd, 1 << 20, 0, 10), 'ENOTSUP')
  const reader = w.fd('f', O_RDONLY)
  t.is(w.fallocate(reader, 0, 0, 10), 'EBADF')
  w.close(reader)
  w.close(fd)
})

semantic(
  'fallocate: collapse and insert, or a refusal that leaves the file alone',
  (w, t) => {
    const bytes = pattern(16_384)
    w.write('f', bytes)
    const fd = w.fd('f', O_RDWR)
    for (const mode of [FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE]) {
      const result = w.fallocate(fd, mode, 4096, 4096)
      // The kernel passes neither on to any FUSE filesystem (fs/fuse/file.c).
      if (result === 'ENOTSUP') t.true(Buffer.from(w.content(fd), 'latin1').equals(bytes))
      else t.is(result, 0)
    }
    w.close(fd)
  },
  { mountOnly: true },
)

semantic('fallocate changes what a descriptor reads that had it cached', (w, t) => {
  w.write('f', pattern(32_768))
  const [writer, reader] = [w.fd('f', O_RDWR), w.fd('f', O_RDONLY)]
  w.content(reader)
  w.fallocate(writer, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 8192, 8192)
  t.true((w.pread(reader, 8192, 8192) as Buffer).every(byte => byte === 0))
  w.content(reader)
  w.close(writer)
  w.close(reader)
})

semantic('posix_fallocate extends the file', (w, t) => {
  const fd = w.fd('f', O_RDWR | O_CREAT)
  t.is(w.posixFallocate(fd, 1000, 9000), 0)
  t.is(w.fattributes(fd).size, 10_000)
  w.posixFallocate(fd, 0, 0)
  w.posixFallocate(fd, -1, 10)
  w.close(fd)
})

semantic('copy_file_range: within a file, between files, at the end, overlapping', (w, t) => {
  const bytes = pattern(300_000)
  w.write('a', bytes)
  const [a, b] = [w.fd('a', O_RDWR), w.fd('b', O_RDWR | O_CREAT)]
  t.is(w.copyRange(a, 1000, b, 0, 200_000), 200_000)
  t.true(Buffer.from(w.content(b), 'latin1').equals(bytes.subarray(1000, 201_000)))
  t.is(w.copyRange(a, 299_990, b, 200_000, 1000), 10)
  t.is(w.copyRange(a, 300_000, b, 0, 10), 0)
  t.is(w.copyRange(a, 0, b, 1_000_000, 5), 5)
  t.is(w.fattributes(b).size, 1_000_005)
  t.is(w.copyRange(b, 0, b, 500_000, 1000), 1000)
  t.is(w.copyRange(b, 0, b, 500, 1000), 'EINVAL')
  t.deepEqual(w.pread(b, 1000, 500_000), bytes.subarray(1000, 2000))
  w.content(b)
  const reader = w.fd('b', O_RDONLY)
  t.is(w.copyRange(a, 0, reader, 0, 1), 'EBADF')
  const writer = w.fd('a', O_WRONLY)
  t.is(w.copyRange(writer, 0, b, 0, 1), 'EBADF')
  const appending = w.fd('b', O_RDWR | O_APPEND)
  t.is(w.copyRange(a, 0, appending, 0, 1), 'EBADF')
  for (const fd of [a, b, reader, writer, appending]) w.close(fd)
})

semantic('copy_file_range shows in what was cached, and changes mtime', (w, t) => {
  w.write('a', 'AAAA')
  w.write('b', 'bbbb')
  const reader = w.fd('b', O_RDONLY)
  w.content(reader)
  const before = w.attributes('b')
  tick()
  const [a, b] = [w.fd('a', O_RDONLY), w.fd('b', O_RDWR)]
  t.is(w.copyRange(a, 0, b, 2, 4), 4)
  t.is(w.content(reader), 'bbAAAA')
  t.is(w.attributes('b').size, 6)
  t.true(w.attributes('b').mtime > before.mtime)
  for (const fd of [a, b, reader]) w.close(fd)
})

semantic('O_APPEND: every write goes to the end, whatever the position', (w, t) => {
  w.write('f', 'one.')
  const [a, b] = [w.fd('f', O_RDWR | O_APPEND), w.fd('f', O_WRONLY | O_APPEND)]
  for (let i = 0; i < 5; i++) {
    w.append(a, `a${i}.`)
    w.append(b, `b${i}.`)
  }
  w.seek(a, 0, SEEK_SET)
  w.append(a, 'end')
  // Linux appends with pwrite too (pwrite(2), BUGS).
  w.pwrite(a, '!', 0)
  t.is(w.read('f'), 'one.a0.b0.a1.b1.a2.b2.a3.b3.a4.b4.end!')
  w.ftruncate(b, 4)
  w.append(a, 'x')
  t.is(w.read('f'), 'one.x')
  w.close(a)
  w.close(b)
})

semantic('O_APPEND can be switched on and off', (w, t) => {
  w.write('f', '12345')
  const fd = w.fd('f', O_RDWR)
  const calls = testCalls()
  t.is(calls.fcntlNumber(fd, 4, O_APPEND), 0)
  w.append(fd, '6')
  t.is(w.read('f'), '123456')
  t.is(calls.fcntlNumber(fd, 4, 0), 0)
  w.seek(fd, 0, SEEK_SET)
  w.append(fd, 'x')
  t.is(w.read('f'), 'x23456')
  w.close(fd)
})

semantic('O_SYNC and O_DSYNC writes', (w, t) => {
  for (const [name, flag] of Object.entries({ sync: O_SYNC, dsync: O_DSYNC })) {
    const fd = w.fd(name, O_RDWR | O_CREAT | flag)
    t.is(w.pwrite(fd, 'safe', 0), 4)
    t.is(w.content(fd), 'safe')
    w.close(fd)
  }
})

/** A page-aligned buffer: anonymous memory would do, but only a Buffer can be passed to the calls. */
function aligned(length: number): Buffer {
  const big = Buffer.allocUnsafeSlow(length + 4096)
  const address = Number(linux().address(big) % 4096n)
  const start = (4096 - address) % 4096
  return big.subarray(start, start + length)
}

semantic('O_DIRECT: aligned reads and writes, mixed with buffered ones', (w, t) => {
  const opened = w.open('f', O_RDWR | O_CREAT | O_DIRECT)
  if (typeof opened === 'string') return t.is(opened, 'EINVAL')
  const buffered = w.fd('f', O_RDWR)
  const block = aligned(8192)
  pattern(8192, 3).copy(block)
  t.is(w.pwrite(opened, block, 0), 8192)
  t.true((w.pread(buffered, 8192, 0) as Buffer).equals(pattern(8192, 3)))
  t.is(w.pwrite(buffered, 'buffered', 4096), 8)
  const into = aligned(4096)
  t.is(
    w.run(() => linux().pread(opened, into, 4096)),
    4096,
  )
  t.is(into.toString('latin1', 0, 8), 'buffered')
  pattern(4096, 5).copy(block)
  t.is(w.pwrite(opened, block.subarray(0, 4096), 4096), 4096)
  t.true((w.pread(buffered, 4096, 4096) as Buffer).equals(pattern(4096, 5)))
  t.is(w.ftruncate(opened, 6000), 0)
  t.is(
    w.run(() => linux().pread(opened, into, 4096)),
    6000 - 4096,
  )
  w.close(opened)
  w.close(buffered)
  t.is(w.attributes('f').size, 6000)
})

semantic('mmap shared: writes show in the file and in other maps', (w, t) => {
  const calls = testCalls()
  w.write('f', pattern(16_384))
  const fd = w.fd('f', O_RDWR)
  const map = w.run(() => calls.mmap(16_384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0))
  const other = w.run(() => calls.mmap(8192, PROT_READ, MAP_SHARED, fd, 8192))
  if (typeof map !== 'bigint' || typeof other !== 'bigint') return t.fail(`mmap ${map} ${other}`)
  t.true(calls.load(map, 0, 16_384).equals(pattern(16_384)))
  calls.store(map, 9000, Buffer.from('mapped'))
  t.is(String(calls.load(other, 808, 6)), 'mapped')
  t.is(String(w.pread(fd, 6, 9000)), 'mapped')
  t.is(w.pwrite(fd, 'WRITTEN', 12_000), 7)
  t.is(String(calls.load(map, 12_000, 7)), 'WRITTEN')
  t.is(calls.msync(map, 16_384, MS_SYNC), 0)
  t.is(calls.munmap(map, 16_384), 0)
  t.is(calls.munmap(other, 8192), 0)
  w.close(fd)
  t.is(w.read('f').slice(9000, 9006), 'mapped')
})

semantic('mmap shared: what was not synced is in the file after munmap and close', (w, t) => {
  const calls = testCalls()
  w.write('f', Buffer.alloc(1 << 20))
  const fd = w.fd('f', O_RDWR)
  const map = w.run(() => calls.mmap(1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0))
  if (typeof map !== 'bigint') return t.fail(`mmap ${map}`)
  const before = w.fattributes(fd)
  tick()
  for (let at = 0; at < 1 << 20; at += 4096) calls.store(map, at, Buffer.from(`page ${at}`))
  calls.munmap(map, 1 << 20)
  w.close(fd)
  const content = w.read('f')
  for (let at = 0; at < 1 << 20; at += 4096) if (!content.startsWith(`page ${at}`, at)) return t.fail(`page at ${at}`)
  t.true(w.attributes('f').mtime >= before.mtime)
})

semantic('mmap private: writes stay with the map', (w, t) => {
  const calls = testCalls()
  w.write('f', 'original')
  const fd = w.fd('f', O_RDONLY)
  const map = w.run(() => calls.mmap(4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0))
  if (typeof map !== 'bigint') return t.fail(`mmap ${map}`)
  calls.store(map, 0, Buffer.from('changed!'))
  t.is(String(calls.load(map, 0, 8)), 'changed!')
  t.is(w.read('f'), 'original')
  calls.munmap(map, 4096)
  t.is(
    w.run(() => calls.mmap(4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)),
    -13,
  )
  w.close(fd)
})

semantic('mmap of a file that is deleted and closed stays readable and writable', (w, t) => {
  const calls = testCalls()
  w.write('f', pattern(8192))
  const fd = w.fd('f', O_RDWR)
  const map = w.run(() => calls.mmap(8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0))
  if (typeof map !== 'bigint') return t.fail(`mmap ${map}`)
  t.is(w.unlink('f'), 0)
  w.close(fd)
  t.true(calls.load(map, 4096, 4096).equals(pattern(8192).subarray(4096)))
  calls.store(map, 100, Buffer.from('x'))
  t.is(calls.msync(map, 8192, MS_SYNC), 0)
  t.is(calls.munmap(map, 8192), 0)
})

semantic('fsync, fdatasync and syncfs answer, on files and directories', async (w, t) => {
  w.write('f', 'x')
  w.mkdir('d')
  for (const [name, flags] of [
    ['f', O_RDWR],
    ['f', O_RDONLY],
    ['d', O_RDONLY],
  ] as const) {
    const fd = w.fd(name, flags)
    t.is(await w.fsync(fd), 0)
    t.is(await w.fsync(fd, true), 0)
    t.is(await w.syncfs(fd), 0)
    w.close(fd)
  }
})

semantic('a file that is written, emptied and written again by O_TRUNC', (w, t) => {
  for (let i = 0; i < 20; i++) {
    const fd = w.fd('f', O_WRONLY | O_CREAT | O_TRUNC)
    w.pwrite(fd, `round ${i}`, 0)
    w.close(fd)
    t.is(w.read('f'), `round ${i}`)
  }
})

semantic('a program that is running can not be written, one that is written can not be run', (w, t) => {
  w.write(
    'sleep',
    Buffer.from(
      w.run(() => readBinary('/bin/sleep')),
      'latin1',
    ),
    0o755,
  )
  const child = w.run(() => spawnBackground(w.path('sleep'), '5'))
  try {
    t.is(w.open('sleep', O_WRONLY), 'ETXTBSY')
    t.is(w.truncate('sleep', 0), 'ETXTBSY')
    t.is(w.read('sleep').length > 1000, true)
    t.is(w.rename('sleep', 'renamed'), 0)
    t.is(w.unlink('renamed'), 0)
  } finally {
    child.kill('SIGKILL')
  }
  w.write(
    'true',
    Buffer.from(
      w.run(() => readBinary('/bin/true')),
      'latin1',
    ),
    0o755,
  )
  const fd = w.fd('true', O_RDWR)
  t.is((w.program('./true').error as NodeJS.ErrnoException | undefined)?.code, 'ETXTBSY')
  w.close(fd)
  t.is(w.program('./true').status, 0)
})

function readBinary(path: string): string {
  return readFileSync(path, 'latin1')
}

function spawnBackground(path: string, argument: string) {
  return spawn(path, [argument], { stdio: 'ignore' })
}
