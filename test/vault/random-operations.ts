/**
 * Random operations on a volume, by paths, and what it looks like then. Owns: the drawing, the doing, the dump.
 */
import { createHash } from 'node:crypto'
import { FsError } from '../../src/errors.ts'
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, O_RDWR, O_TRUNC } from '../../src/sys/flags.ts'
import {
  type Answer,
  type Entry,
  type Ino,
  isDirectory,
  isRegular,
  isSymlink,
  type Name,
  type OpenFile,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  S_IFIFO,
  type Volume,
} from '../../src/vfs/contract.ts'
import type { SeededRandom } from '../support/random.ts'
import { context } from '../vfs/volume-contract.ts'

/** A volume all of whose answers are at once. */
export type PromptVolume = Volume

const NAMES = ['a', 'b', 'c', '\xffd', 'e'.repeat(255)]
const SIZES = [0, 1, 100, 4096, 5000, 70_000, 300_000, 1_300_000]

function now<T>(answer: Answer<T>): T {
  if (answer instanceof Promise) throw new Error('this volume answers at once')
  return answer
}

function count(answer: number | Promise<Buffer>): number {
  if (typeof answer !== 'number') throw new Error('this volume answers at once')
  return answer
}

/** Bytes that some other draw of the same seed makes again: duplicates. */
export function content(random: SeededRandom, length: number): Buffer {
  const kind = random.below(3)
  if (kind === 0) return Buffer.alloc(length, random.below(4))
  const seed = random.below(3)
  const bytes = Buffer.allocUnsafe(length)
  let state = seed + 1
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    bytes[i] = kind === 1 ? state >>> 24 : (state >>> 24) & 3
  }
  return bytes
}

interface Place {
  readonly parent: Ino
  readonly name: Name
}

function place(volume: PromptVolume, random: SeededRandom): Place {
  let parent = volume.rootIno
  for (let depth = random.below(3); depth > 0; depth--) {
    const entry = lookup(volume, parent, random.pick(NAMES))
    if (!entry || !isDirectory(entry.attributes.mode)) break
    parent = entry.attributes.ino
  }
  return { parent, name: random.pick(NAMES) }
}

function lookup(volume: PromptVolume, parent: Ino, name: Name): Entry | undefined {
  const entry = now(volume.lookup(context, parent, name))
  if (entry) volume.forget(entry.attributes.ino, 1)
  return entry
}

function withFile(volume: PromptVolume, { parent, name }: Place, flags: number, work: (file: OpenFile, ino: Ino) => void): void {
  const { entry, file } = now(volume.create(context, parent, name, 0o644, O_RDWR | flags))
  try {
    work(file, entry.attributes.ino)
  } finally {
    now(file.release())
    volume.forget(entry.attributes.ino, 1)
  }
}

/** Does one operation drawn from `random`; answers what a program would see. Draws the same numbers whatever happens. */
export function step(volume: PromptVolume, random: SeededRandom): string {
  const where = place(volume, random)
  const other = place(volume, random)
  const kind = random.below(30)
  const position = random.pick([0, 1, 4096, 60_000, 65_536, 262_144, 1_000_000])
  const bytes = content(random, random.pick(SIZES))
  const number = random.below(1000)
  try {
    return act(volume, where, other, kind, position, bytes, number)
  } catch (error) {
    if (error instanceof FsError) return `${kind} ${error.kind}`
    throw error
  }
}

function act(volume: PromptVolume, where: Place, other: Place, kind: number, position: number, bytes: Buffer, number: number): string {
  const made = (answer: Answer<Entry>) => {
    volume.forget(now(answer).attributes.ino, 1)
    return `${kind} made`
  }
  const found = (): Ino => {
    const entry = lookup(volume, where.parent, where.name)
    if (!entry) throw new FsError('not-found')
    return entry.attributes.ino
  }
  if (kind < 4) return made(volume.mkdir(context, where.parent, where.name, 0o755))
  if (kind < 12) {
    // In pieces, as programs write.
    withFile(volume, where, kind === 11 ? O_TRUNC : 0, file => {
      for (let at = 0; at < bytes.length; at += 131_072) now(file.write(context, position + at, bytes.subarray(at, at + 131_072), {}))
    })
    return `${kind} wrote ${bytes.length}`
  }
  if (kind === 12) {
    withFile(volume, where, 0, file => {
      for (let i = 0; i < 20; i++) now(file.write(context, 0, bytes.subarray(0, number), { append: true }))
    })
    return `${kind} appended`
  }
  if (kind === 13) {
    now(volume.setattr(context, found(), { sizeBytes: position + number }))
    return `${kind} truncated`
  }
  if (kind === 14) {
    withFile(volume, where, 0, file => now(file.fallocate(context, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, position, bytes.length + 1)))
    return `${kind} punched`
  }
  if (kind === 15) {
    // An open file without a name is written and read.
    let seen = ''
    withFile(volume, where, 0, file => {
      now(volume.unlink(context, where.parent, where.name))
      now(file.write(context, position, bytes, {}))
      const into = Buffer.alloc(1000)
      seen = digest(into.subarray(0, count(file.read(context, position, into))))
    })
    return `${kind} unnamed ${seen}`
  }
  if (kind === 16) {
    withFile(volume, where, 0, file => {
      for (let i = 0; i < 30; i++) now(file.write(context, ((number * (i + 1) * 7919) % 100) * 4096, bytes.subarray(0, 4096), {}))
    })
    return `${kind} scattered`
  }
  if (kind === 17) {
    // Within one file the kernel refuses ranges that overlap before a volume is asked.
    if (lookup(volume, other.parent, other.name)?.attributes.ino === found()) return `${kind} same`
    const source = now(volume.open(context, found(), 0))
    try {
      let copied = 0
      withFile(volume, other, 0, file => {
        copied = now(source.copyRange(context, number, file, position, Math.min(bytes.length, 200_000)))
      })
      return `${kind} copied ${copied > 0}`
    } finally {
      now(source.release())
    }
  }
  if (kind < 21) {
    now(volume.unlink(context, where.parent, where.name))
    return `${kind} unlinked`
  }
  if (kind === 21) {
    now(volume.rmdir(context, where.parent, where.name))
    return `${kind} removed`
  }
  if (kind < 25) {
    const flags = [0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE][number % 4]!
    now(volume.rename(context, where.parent, where.name, other.parent, other.name, flags))
    return `${kind} renamed`
  }
  if (kind === 25) return made(volume.link(context, found(), other.parent, other.name))
  if (kind === 26) return made(volume.symlink(context, where.parent, where.name, `to/${number}`))
  if (kind === 27) {
    now(volume.setxattr(context, found(), `user.${number % 3}`, bytes.subarray(0, 500), 0, false))
    return `${kind} attributed`
  }
  if (kind === 28) {
    now(volume.setattr(context, found(), { mode: number % 0o1000, mtime: { sec: number, nsec: number } }))
    return `${kind} changed`
  }
  return made(volume.mknod(context, where.parent, where.name, S_IFIFO | 0o600, 0))
}

function digest(bytes: Buffer): string {
  return createHash('sha1').update(bytes).digest('hex').slice(0, 12)
}

/** Everything that is there, a line each. Times only where they were set. */
export function dump(volume: PromptVolume, from: Ino = volume.rootIno): string[] {
  const lines: string[] = []
  const first = new Map<Ino, string>()
  const walk = (ino: Ino, prefix: string) => {
    const names: Name[] = []
    const directory = now(volume.opendir(context, ino))
    now(
      directory.read(context, 0n, false, {
        add(name) {
          names.push(name)
          return true
        },
      }),
    )
    now(directory.release())
    for (const name of names.sort()) {
      if (name === '.' || name === '..') continue
      const { attributes: a } = lookup(volume, ino, name)!
      const path = prefix + name.slice(0, 8)
      const same = first.get(a.ino) ?? path
      first.set(a.ino, same)
      let text = ''
      if (isRegular(a.mode)) {
        const file = now(volume.open(context, a.ino, 0))
        const bytes = Buffer.alloc(a.sizeBytes)
        const length = count(file.read(context, 0, bytes))
        now(file.release())
        text = `${a.sizeBytes} ${length} ${digest(bytes)}`
      } else if (isSymlink(a.mode)) text = now(volume.readlink(context, a.ino))
      const attributes = now(volume.listxattr(context, a.ino))
        .sort()
        .map(key => `${key}=${digest(now(volume.getxattr(context, a.ino, key)))}`)
      const links = isDirectory(a.mode) ? '' : a.nlink
      lines.push([path, a.mode.toString(8), links, same, text, a.mtimeSec < 2000 ? a.mtimeSec : '', ...attributes].join(' '))
      if (isDirectory(a.mode)) walk(a.ino, `${path}/`)
    }
  }
  walk(from, '')
  return lines
}
