/**
 * A second process for tests: makes calls when it is told to, in somebody's name.
 *
 * Owns: the process. It ends with `end`, or when its parent goes. Its calls are those of `World`, and the few below that
 * make many calls at once.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { O_APPEND, O_CREAT, O_EXCL, O_WRONLY } from '../../src/sys/flags.ts'
import { World } from '../posix/world.ts'
import type { Persona } from './system-calls.ts'

/** What another process can be told to do. */
const ACTIONS = {
  open: (w: World, path: string, flags: number) => w.open(path, flags),
  close: (w: World, fd: number) => w.close(fd),
  content: (w: World, fd: number) => w.content(fd),
  pwrite: (w: World, fd: number, text: string, position: number) => w.pwrite(fd, text, position),
  lock: (w: World, fd: number, command: number, type: number, start: number, length: number) => w.lock(fd, command, type, start, length),
  flock: (w: World, fd: number, operation: number) => w.flock(fd, operation),
  /** Makes path-0 ... path-(count-1), each with O_EXCL: how many were new. */
  makeMany(w: World, path: string, count: number): number {
    let made = 0
    for (let i = 0; i < count; i++) {
      const fd = w.open(`${path}-${i}`, O_WRONLY | O_CREAT | O_EXCL)
      if (typeof fd === 'string') continue
      made++
      w.close(fd)
    }
    return made
  },
  /** Appends lines of different lengths, each with one write. */
  appendMany(w: World, path: string, prefix: string, count: number): number {
    const fd = w.fd(path, O_WRONLY | O_APPEND)
    for (let i = 0; i < count; i++) {
      const line = `${prefix}${i} ${'.'.repeat(i % 97)}\n`
      if (w.append(fd, line) !== line.length) throw new Error(`append ${i}`)
    }
    w.close(fd)
    return count
  },
} as const

type Actions = typeof ACTIONS
type Arguments<K extends keyof Actions> = Parameters<Actions[K]> extends [World, ...infer Rest] ? Rest : never

export class OtherProcess {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  #asked = 0

  private constructor(child: ChildProcess) {
    this.#process = child
    child.on('message', ({ id, value, error }: { id: number; value?: unknown; error?: string }) => {
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error === undefined) waiting?.resolve(value)
      else waiting?.reject(new Error(error))
    })
    child.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the other process ended'))
      this.#waiting.clear()
    })
  }

  static async startAll(count: number, persona: Persona): Promise<OtherProcess[]> {
    const others = Array.from({ length: count }, () => {
      // As root it takes on the persona itself, so that it can read the sources wherever they are.
      const child = fork(fileURLToPath(import.meta.url), ['other-process', JSON.stringify(persona)], { execArgv: [] })
      return new OtherProcess(child)
    })
    await Promise.all(others.map(other => other.call('close', -1)))
    return others
  }

  get pid(): number {
    return this.#process.pid!
  }

  call<K extends keyof Actions>(action: K, ...given: Arguments<K>): Promise<ReturnType<Actions[K]>> {
    const id = ++this.#asked
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.#process.send({ id, action, given })
    })
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal)
  }

  end(): void {
    this.#process.kill('SIGKILL')
  }
}

if (process.argv[2] === 'other-process' && process.send) {
  const world = new World('/', JSON.parse(process.argv[3]!) as Persona)
  process.on('disconnect', () => process.exit(0))
  process.on('message', ({ id, action, given }: { id: number; action: keyof Actions; given: unknown[] }) => {
    try {
      const run = ACTIONS[action] as (w: World, ...rest: unknown[]) => unknown
      process.send!({ id, value: world.quietly(() => run(world, ...given)) })
    } catch (error) {
      process.send!({ id, error: String(error) })
    }
  })
}
