/**
 * Random acts on two volumes at once: what one answers, the other has to answer.
 * Owns: the choice of acts, from a seed, and their doing. It knows nothing of buckets.
 */
import { FsError } from '../../../src/errors.ts'
import { O_RDWR, O_TRUNC, O_WRONLY } from '../../../src/sys/flags.ts'
import { type Ino, type Name, type OpenFile, S_IFMT, type Volume } from '../../../src/vfs/contract.ts'
import type { SeededRandom } from '../../support/random.ts'
import { context } from '../volume-contract.ts'

const NAMES: readonly Name[] = ['a', 'b', 'c', 'd-1', 'caf\xc3\xa9', 'x.txt', '\xff\xfe']
const SIZES = [0, 1, 100, 5000, 40_000, 150_000]

export type Act =
  | {
      readonly kind: 'write'
      readonly path: Name[]
      readonly position: number
      readonly data: Buffer
      readonly truncate: boolean
      readonly sync: boolean
    }
  | { readonly kind: 'truncate'; readonly path: Name[]; readonly sizeBytes: number }
  | { readonly kind: 'unlink' | 'mkdir' | 'rmdir'; readonly path: Name[] }
  | { readonly kind: 'rename'; readonly path: Name[]; readonly to: Name[] }
  | { readonly kind: 'symlink'; readonly path: Name[]; readonly target: Name }
  | { readonly kind: 'chmod'; readonly path: Name[]; readonly mode: number }
  | { readonly kind: 'times'; readonly path: Name[]; readonly sec: number }
  | { readonly kind: 'hold' | 'drop' | 'scribble'; readonly path: Name[]; readonly data: Buffer }

export function randomAct(random: SeededRandom): Act {
  const path = randomPath(random)
  const kind = random.pick([
    'write',
    'write',
    'write',
    'truncate',
    'unlink',
    'mkdir',
    'mkdir',
    'rmdir',
    'rename',
    'rename',
    'rename',
    'symlink',
    'chmod',
    'times',
    'hold',
    'drop',
    'scribble',
  ] as const)
  switch (kind) {
    case 'write': {
      const data = Buffer.alloc(random.pick(SIZES), String.fromCharCode(97 + random.below(26)))
      return {
        kind,
        path,
        position: random.pick([0, 0, 3, 4096, 70_000]),
        data,
        truncate: random.below(3) === 0,
        sync: random.below(4) === 0,
      }
    }
    case 'truncate':
      return { kind, path, sizeBytes: random.pick(SIZES) }
    case 'rename':
      return { kind, path, to: randomPath(random) }
    case 'symlink':
      return { kind, path, target: `../${random.pick(NAMES)}` }
    case 'chmod':
      return { kind, path, mode: random.pick([0o600, 0o644, 0o755, 0o4755]) }
    case 'times':
      return { kind, path, sec: 1_000_000_000 + random.below(1_000_000) }
    case 'hold':
    case 'drop':
    case 'scribble':
      return { kind, path, data: Buffer.alloc(1 + random.below(9000), '#') }
    default:
      return { kind, path }
  }
}

function randomPath(random: SeededRandom): Name[] {
  return Array.from({ length: 1 + random.below(3) }, () => random.pick(NAMES.slice(0, 2 + random.below(6))))
}

export function describeAct(act: Act): string {
  const { path, ...rest } = act
  return `${act.kind} ${path.join('/')} ${JSON.stringify({ ...rest, data: 'data' in act ? `${act.data.length} bytes` : undefined })}`
}

/** A volume that acts are done on. `held`: files that stay open. */
export class Actor {
  volume: Volume
  readonly held = new Map<string, OpenFile>()

  constructor(volume: Volume) {
    this.volume = volume
  }

  /** The kind of the error, or what was seen. */
  async act(act: Act): Promise<string> {
    try {
      return await this.#do(act)
    } catch (error) {
      if (error instanceof FsError) return `error ${error.kind}`
      throw error
    }
  }

  async #do(act: Act): Promise<string> {
    const { volume } = this
    const parent = await this.#directory(act.path.slice(0, -1))
    const name = act.path.at(-1)!
    switch (act.kind) {
      case 'write': {
        const found = await volume.lookup(context, parent, name)
        const flags = O_WRONLY | (act.truncate ? O_TRUNC : 0)
        const file = found
          ? await volume.open(context, found.attributes.ino, flags)
          : (await volume.create(context, parent, name, 0o644, O_RDWR)).file
        try {
          await file.write(context, act.position, act.data, {})
          await file.flush(context)
          if (act.sync) await file.fsync(context, false)
        } finally {
          await file.release()
        }
        return 'written'
      }
      case 'truncate':
        return `size ${(await volume.setattr(context, await this.#ino(parent, name), { sizeBytes: act.sizeBytes })).attributes.sizeBytes}`
      case 'unlink':
        await volume.unlink(context, parent, name)
        return 'gone'
      case 'mkdir':
        return `mode ${(await volume.mkdir(context, parent, name, 0o755)).attributes.mode}`
      case 'rmdir':
        await volume.rmdir(context, parent, name)
        return 'gone'
      case 'rename':
        await volume.rename(context, parent, name, await this.#directory(act.to.slice(0, -1)), act.to.at(-1)!, 0)
        return 'renamed'
      case 'symlink':
        return `size ${(await volume.symlink(context, parent, name, act.target)).attributes.sizeBytes}`
      case 'chmod':
        return `mode ${(await volume.setattr(context, await this.#ino(parent, name), { mode: act.mode })).attributes.mode}`
      case 'times':
        return `time ${(await volume.setattr(context, await this.#ino(parent, name), { mtime: { sec: act.sec, nsec: 5 } })).attributes.mtimeSec}`
      case 'hold': {
        const key = act.path.join('/')
        if (this.held.has(key)) return 'held already'
        this.held.set(key, await volume.open(context, await this.#ino(parent, name), O_RDWR))
        return 'held'
      }
      case 'scribble': {
        const file = this.held.get(act.path.join('/'))
        if (!file) return 'not held'
        await file.write(context, 10, act.data, {})
        const { attributes } = await volume.getattr(context, file.ino, file)
        return `${attributes.sizeBytes} ${(await readAll(file, attributes.sizeBytes)).toString('latin1')}`
      }
      case 'drop': {
        const file = this.held.get(act.path.join('/'))
        this.held.delete(act.path.join('/'))
        await file?.flush(context)
        await file?.release()
        return file ? 'dropped' : 'not held'
      }
    }
  }

  async dropAll(): Promise<void> {
    for (const file of this.held.values()) {
      await file.flush(context)
      await file.release()
    }
    this.held.clear()
  }

  async #directory(path: readonly Name[]): Promise<Ino> {
    let at = this.volume.rootIno
    for (const name of path) {
      const found = await this.volume.lookup(context, at, name)
      if (!found) throw new FsError('not-found')
      at = found.attributes.ino
    }
    return at
  }

  async #ino(parent: Ino, name: Name): Promise<Ino> {
    const found = await this.volume.lookup(context, parent, name)
    if (!found) throw new FsError('not-found')
    return found.attributes.ino
  }
}

async function readAll(file: OpenFile, sizeBytes: number): Promise<Buffer> {
  const into = Buffer.alloc(sizeBytes)
  const answer = file.read(context, 0, into)
  return typeof answer === 'number' ? into.subarray(0, answer) : await answer
}

/** Everything below a volume's root: type, mode, path, content or target, and times that were set. */
export async function treeOf(volume: Volume): Promise<string[]> {
  const lines: string[] = []
  const walk = async (ino: Ino, path: string): Promise<void> => {
    const directory = await volume.opendir(context, ino)
    const names: Name[] = []
    await directory.read(context, 0n, false, {
      add(name) {
        if (name !== '.' && name !== '..') names.push(name)
        return true
      },
    })
    await directory.release()
    for (const name of names.sort()) {
      const found = await volume.lookup(context, ino, name)
      if (!found) {
        lines.push(`${path}${name} is listed and not there`)
        continue
      }
      const { mode, ino: child, sizeBytes, mtimeSec } = found.attributes
      const here = `${mode.toString(8)} ${path}${name}`
      const time = mtimeSec >= 1_000_000_000 && mtimeSec < 1_001_000_000 ? ` at ${mtimeSec}` : ''
      if ((mode & S_IFMT) === 0o040000) {
        lines.push(here)
        await walk(child, `${path}${name}/`)
      } else if ((mode & S_IFMT) === 0o120000) lines.push(`${here} -> ${await volume.readlink(context, child)}`)
      else {
        const file = await volume.open(context, child, 0)
        lines.push(`${here} ${sizeBytes}${time} ${(await readAll(file, sizeBytes)).toString('latin1')}`)
        await file.release()
      }
    }
  }
  await walk(volume.rootIno, '')
  return lines
}
