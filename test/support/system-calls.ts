/**
 * System calls that only tests need, beside those of src/sys/linux.ts: memory maps, locks, other users.
 *
 * Owns: their signatures. Answers are as in src/sys/linux.ts: the result, or a negative errno.
 */
import koffi from 'koffi'
import { linux } from '../../src/sys/linux.ts'

export const PROT_READ = 1
export const PROT_WRITE = 2
export const MAP_SHARED = 1
export const MAP_PRIVATE = 2
export const MS_SYNC = 4

export const F_GETFL = 3
export const F_SETFL = 4
export const F_GETLK = 5
export const F_SETLK = 6
export const F_SETLKW = 7
export const F_OFD_GETLK = 36
export const F_OFD_SETLK = 37
export const F_OFD_SETLKW = 38
export const F_RDLCK = 0
export const F_WRLCK = 1
export const F_UNLCK = 2
export const LOCK_SH = 1
export const LOCK_EX = 2
export const LOCK_NB = 4
export const LOCK_UN = 8

const arm = process.arch === 'arm64'
const SYS_setresuid = arm ? 147 : 117
const SYS_setresgid = arm ? 149 : 119
const SYS_setgroups = arm ? 159 : 116
const PR_SET_DUMPABLE = 4
const PR_SET_SECUREBITS = 28
const SECBIT_NO_SETUID_FIXUP = 1 << 2
const CAPABILITY_VERSION_3 = 0x20080522
const MAP_FAILED = 0xffff_ffff_ffff_ffffn

export type TestCalls = ReturnType<typeof load>

let loaded: TestCalls | undefined

export function testCalls(): TestCalls {
  return (loaded ??= load())
}

function load() {
  const libc = koffi.load('libc.so.6')
  // biome-ignore lint/suspicious/noExplicitAny: foreign functions have no types of their own
  const wrap = (signature: string): ((...args: any[]) => number) => {
    const call = libc.func(signature)
    // biome-ignore lint/suspicious/noExplicitAny: see above
    return (...args: any[]) => {
      const result = call(...args)
      return result === -1 ? -koffi.errno() : result
    }
  }
  const mmap = libc.func('uint64_t mmap64(void *address, size_t length, int protection, int flags, int fd, int64_t offset)')
  const copyOut = libc.func('void *memcpy(void *to, uint64_t from, size_t length)')
  const copyIn = libc.func('void *memcpy(uint64_t to, const void *from, size_t length)')
  return {
    statx: wrap('int statx(int dirfd, const void *path, int flags, uint mask, void *buf)'),
    fchownat: wrap('int fchownat(int dirfd, const void *path, uint uid, uint gid, int flags)'),
    munmap: wrap('int munmap(uint64_t address, size_t length)'),
    msync: wrap('int msync(uint64_t address, size_t length, int flags)'),
    fcntl: wrap('int fcntl(int fd, int command, void *argument)'),
    fcntlNumber: wrap('int fcntl(int fd, int command, long argument)'),
    dup: wrap('int dup(int fd)'),
    fchdir: wrap('int fchdir(int fd)'),
    posixFallocate: libc.func('int posix_fallocate64(int fd, int64_t offset, int64_t length)') as (
      fd: number,
      offset: number,
      length: number,
    ) => number,
    userCall: wrap('long syscall(long number, long a, long b, long c)'),
    groupsCall: wrap('long syscall(long number, long count, const void *groups)'),
    mmap(length: number, protection: number, flags: number, fd: number, offset: number): bigint | number {
      const address = BigInt(mmap(null, length, protection, flags, fd, offset))
      return address === MAP_FAILED ? -koffi.errno() : address
    },
    load(address: bigint, offset: number, length: number): Buffer {
      const bytes = Buffer.alloc(length)
      copyOut(bytes, address + BigInt(offset), length)
      return bytes
    },
    store(address: bigint, offset: number, bytes: Buffer): void {
      copyIn(address + BigInt(offset), bytes, bytes.length)
    },
  }
}

/** struct flock: l_type, l_whence, padding, l_start, l_len, l_pid. */
export function lockStructure(type: number, start: number, length: number): Buffer {
  const lock = Buffer.alloc(32)
  lock.writeInt16LE(type, 0)
  lock.writeBigInt64LE(BigInt(start), 8)
  lock.writeBigInt64LE(BigInt(length), 16)
  return lock
}

/** A user as the kernel sees one. */
export interface Persona {
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
}

export const ROOT: Persona = { uid: 0, gid: 0, groups: [0] }

/**
 * Runs `action` as another user: this thread takes on the ids and gives up its effective capabilities, as a login of that
 * user would have. Programs that `action` starts are that user's. Root only; `action` must not wait for anything.
 */
export function asPersona<T>(persona: Persona, action: () => T): T {
  if (persona.uid === process.getuid?.()) return action()
  become(persona)
  try {
    return action()
  } finally {
    become(ROOT)
  }
}

/** For this thread only: glibc's own calls would change all threads of the process. */
function become(persona: Persona): void {
  const calls = testCalls()
  const sys = linux()
  const must = (result: number, what: string) => {
    if (result < 0) throw new Error(`${what}: errno ${-result}`)
  }
  if (persona.uid === 0) capabilities(true)
  must(sys.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), 'securebits')
  const groups = Buffer.alloc(persona.groups.length * 4)
  for (const [i, group] of persona.groups.entries()) groups.writeUInt32LE(group, i * 4)
  must(calls.groupsCall(SYS_setgroups, persona.groups.length, groups), 'setgroups')
  must(calls.userCall(SYS_setresgid, persona.gid, persona.gid, persona.gid), 'setresgid')
  must(calls.userCall(SYS_setresuid, persona.uid, persona.uid, persona.uid), 'setresuid')
  if (persona.uid !== 0) capabilities(false)
  // Changing ids hides /proc/self from its own process.
  must(sys.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 'dumpable')
}

/** Makes all permitted capabilities effective, or none. */
function capabilities(effective: boolean): void {
  const sys = linux()
  const header = Buffer.alloc(8)
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0)
  const data = Buffer.alloc(24)
  if (sys.capget(header, data) < 0) throw new Error('capget')
  for (const at of [0, 12]) data.writeUInt32LE(effective ? data.readUInt32LE(at + 4) : 0, at)
  if (sys.capset(header, data) < 0) throw new Error('capset')
}
