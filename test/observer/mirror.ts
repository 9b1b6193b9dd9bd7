/**
 * Support for the observer's tests: a model of what the observer has told, and the same of what is on disk.
 * Owns: the rules by which rows make a tree, as the index applies them: a node without names is gone with all below it.
 */
import { lstatSync, readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { silentLog } from '../../src/log.ts'
import { type BatchReader, SECTION_CHANGES, SECTION_LISTING } from '../../src/vfs/volumes/location/observer/batch.ts'
import { type Batch, Observer, type ObserverOptions } from '../../src/vfs/volumes/location/observer/observer.ts'
import type { Counts } from '../../src/vfs/volumes/location/observer/protocol.ts'
import type { RootIdentity } from '../../src/vfs/volumes/location/observer/root-identity.ts'

interface Told {
  readonly text: string
  /** Set when the name is a directory. */
  readonly directory: string | undefined
}

/** What was told, as a tree. */
export class Mirror {
  readonly #directories = new Map<string, Map<string, Told>>()
  readonly #names = new Map<string, number>()
  #root = ''
  #pages = new Map<string, Told>()
  rows = 0

  apply(reader: BatchReader): void {
    while (reader.nextSection()) {
      const key = `${reader.directoryDevice}:${reader.directoryInoHigh}:${reader.directoryInoLow}`
      if (reader.kind === SECTION_LISTING) this.#listing(key, reader)
      else if (reader.kind === SECTION_CHANGES) this.#changes(key, reader)
    }
  }

  clear(): void {
    this.#directories.clear()
    this.#names.clear()
    this.#root = ''
  }

  #listing(key: string, reader: BatchReader): void {
    if (reader.directoryPath === '') this.#root = key
    if (reader.isFirstPage) this.#pages = new Map()
    while (reader.nextRow()) if (!reader.isAboutDirectory) this.#pages.set(reader.name, this.#told(reader))
    if (!reader.isLastPage) return
    const names = this.#contents(key)
    for (const [name, told] of this.#pages) this.#put(names, name, told)
    if (reader.isComplete) for (const name of [...names.keys()]) if (!this.#pages.has(name)) this.#remove(names, name)
    this.#pages = new Map()
  }

  #changes(key: string, reader: BatchReader): void {
    const names = this.#contents(key)
    while (reader.nextRow()) {
      if (reader.isAboutDirectory) continue
      if (reader.isGone) this.#remove(names, reader.name)
      else this.#put(names, reader.name, this.#told(reader))
    }
  }

  #told(reader: BatchReader): Told {
    this.rows++
    const directory = (reader.mode & 0o170000) === 0o040000
    const ino = BigInt(reader.inoHigh) * 2n ** 32n + BigInt(reader.inoLow)
    const text = reader.isExcluded
      ? 'excluded'
      : reader.isPartial
        ? 'partial'
        : describe(reader.mode, ino, reader.sizeBytes, BigInt(reader.mtimeSec) * 1_000_000_000n + BigInt(reader.mtimeNsec))
    return { text, directory: directory ? `${reader.device}:${reader.inoHigh}:${reader.inoLow}` : undefined }
  }

  #contents(key: string): Map<string, Told> {
    let names = this.#directories.get(key)
    if (!names) this.#directories.set(key, (names = new Map()))
    return names
  }

  #put(names: Map<string, Told>, name: string, told: Told): void {
    const before = names.get(name)
    names.set(name, told)
    if (before?.directory === told.directory) return
    if (told.directory) this.#names.set(told.directory, (this.#names.get(told.directory) ?? 0) + 1)
    if (before) this.#unname(before)
  }

  #remove(names: Map<string, Told>, name: string): void {
    const told = names.get(name)
    names.delete(name)
    if (told) this.#unname(told)
  }

  #unname(told: Told): void {
    if (!told.directory) return
    const left = (this.#names.get(told.directory) ?? 1) - 1
    this.#names.set(told.directory, left)
    if (left > 0) return
    this.#names.delete(told.directory)
    const names = this.#directories.get(told.directory)
    this.#directories.delete(told.directory)
    for (const name of [...(names?.keys() ?? [])]) this.#remove(names!, name)
  }

  /** Path to description. */
  tree(): Map<string, string> {
    const all = new Map<string, string>()
    const above = new Set<string>()
    const walk = (key: string, prefix: string) => {
      above.add(key)
      for (const [name, told] of this.#directories.get(key) ?? []) {
        const isCycle = told.directory !== undefined && above.has(told.directory)
        all.set(prefix + name, isCycle ? 'below itself' : told.text)
        if (told.directory && !isCycle) walk(told.directory, `${prefix}${name}/`)
      }
      above.delete(key)
    }
    walk(this.#root, '')
    return all
  }
}

/** A directory's size and times change with each name in it, and follow by events of their own: they aren't compared. */
function describe(mode: number, ino: bigint, sizeBytes: number, mtimeNs: bigint): string {
  const isDirectory = (mode & 0o170000) === 0o040000
  return `${mode.toString(8)} ${ino}${isDirectory ? '' : ` ${sizeBytes} ${mtimeNs}`}`
}

/** What is on disk, in the same words. */
export function disk(path: string): Map<string, string> {
  const all = new Map<string, string>()
  const walk = (directory: Buffer, prefix: string) => {
    for (const name of readdirSync(directory, { encoding: 'buffer' })) {
      const at = Buffer.concat([directory, Buffer.from('/'), name])
      const stat = lstatSync(at, { bigint: true })
      all.set(prefix + name.toString('latin1'), describe(Number(stat.mode), stat.ino, Number(stat.size), stat.mtimeNs))
      if (stat.isDirectory()) walk(at, `${prefix}${name.toString('latin1')}/`)
    }
  }
  walk(Buffer.from(path), '')
  return all
}

/** The differences of two trees, at most ten. */
export function differences(told: Map<string, string>, real: Map<string, string>, namesOnly = false): string[] {
  const found: string[] = []
  const same = (one: string | undefined, other: string) => one === other || (namesOnly && one?.split(' ')[1] === other.split(' ')[1])
  for (const [path, text] of real)
    if (!same(told.get(path), text)) found.push(`${JSON.stringify(path)}: disk ${text}, told ${told.get(path)}`)
  for (const path of told.keys()) if (!real.has(path)) found.push(`${JSON.stringify(path)}: not on disk`)
  return found.slice(0, 10)
}

/** An observer with everything that it told. */
export class Watcher {
  readonly observer: Observer
  readonly mirror = new Mirror()
  /** What came, in order: online, offline, scan 1, finished 1, lost, refused. */
  readonly story: string[] = []
  identity: RootIdentity | undefined
  finished: Counts | undefined
  batches = 0
  /** Hold acknowledgements back. */
  hold = false
  readonly held: Batch[] = []

  constructor(path: string, options: Partial<ObserverOptions> = {}) {
    this.observer = new Observer({
      path: Buffer.from(path).toString('latin1'),
      log: silentLog,
      batch: batch => {
        this.batches++
        this.mirror.apply(batch.reader)
        if (this.hold) this.held.push(batch)
        else this.observer.acknowledge(batch)
      },
      online: identity => {
        this.identity = identity
        this.mirror.clear()
        this.story.push('online')
      },
      offline: reason => this.story.push(`offline: ${reason}`),
      scanStarted: scan => this.story.push(`scan ${scan}`),
      scanFinished: (scan, counts) => {
        this.finished = counts
        this.story.push(`finished ${scan}`)
      },
      eventsLost: () => this.story.push('lost'),
      watchRefused: reason => this.story.push(`refused: ${reason}`),
      ...options,
    })
    this.observer.start()
  }

  release(): void {
    this.hold = false
    for (const batch of this.held.splice(0)) this.observer.acknowledge(batch)
  }

  /** Waits for a word of the story. */
  async until(word: string | RegExp, from = 0): Promise<number> {
    const matches = (line: string) => (typeof word === 'string' ? line === word : word.test(line))
    await eventually(
      () => this.story.slice(from).some(matches),
      () => `no ${word} in ${JSON.stringify(this.story)}`,
    )
    return this.story.findIndex((line, i) => i >= from && matches(line)) + 1
  }

  /** Waits until what was told is what is on disk. */
  async agrees(path: string, timeoutMs = 30_000, namesOnly = false): Promise<void> {
    let found: string[] = []
    await eventually(
      () => (found = differences(this.mirror.tree(), disk(path), namesOnly)).length === 0,
      () => `told and disk differ: ${found.join('; ')}`,
      timeoutMs,
    )
  }
}

/** Waits until `condition` holds. */
export async function eventually(
  condition: () => boolean,
  message: () => string = () => 'it did not come true',
  timeoutMs = 30_000,
): Promise<void> {
  const end = performance.now() + timeoutMs
  for (let pauseMs = 5; !condition(); pauseMs = Math.min(pauseMs * 1.5, 200)) {
    if (performance.now() > end) throw new Error(message())
    await sleep(pauseMs)
  }
}
