/**
 * Runs random operations on the model and a subject, side by side.
 *
 * Owns: what a failure shows: the seed, the step, and the shortest list of operations that still fails (found by leaving
 * operations out), to be kept as a named regression.
 */
import type { ExecutionContext } from 'ava'
import { SeededRandom } from '../support/random.ts'
import { Model, type Subject } from './model.ts'
import { type DrawOptions, draw, type Operation } from './operations.ts'

export interface MadeSubject {
  readonly subject: Subject
  dispose(): void | Promise<void>
}

export interface ModelRun extends DrawOptions {
  /** An empty subject. */
  readonly make: () => MadeSubject | Promise<MadeSubject>
  readonly steps: number
  /** Called every so many steps beside the comparison of everything: reopens, remounts, collects. */
  readonly between?: (subject: Subject) => void | Promise<void>
}

const STEPS_BETWEEN_SNAPSHOTS = 100

/** Seeds to try: SEED alone, or ROUNDS new ones. */
export function seeds(rounds: number): number[] {
  if (process.env.SEED) return [Number(process.env.SEED)]
  return Array.from({ length: Number(process.env.ROUNDS ?? rounds) }, () => Math.floor(Math.random() * 2 ** 31))
}

export async function runModel(t: ExecutionContext, seed: number, options: ModelRun): Promise<void> {
  const random = new SeededRandom(seed)
  const operations = Array.from({ length: options.steps }, () => draw(random, options))
  t.log(`seed ${seed}`)
  const failure = await firstDifference(operations, options)
  if (!failure) {
    t.pass()
    return
  }
  const shortest = await shorten(operations.slice(0, failure.step + 1), options)
  t.fail(
    `seed ${seed}: ${(await firstDifference(shortest, options))?.text ?? failure.text}\n${shortest.map(o => JSON.stringify(o)).join(',\n')}`,
  )
}

/** Runs a list of operations, as a regression keeps it. */
export async function runOperations(
  t: ExecutionContext,
  operations: readonly Operation[],
  options: Omit<ModelRun, 'steps'>,
): Promise<void> {
  t.is((await firstDifference(operations, { ...options, steps: operations.length }))?.text, undefined)
}

async function firstDifference(operations: readonly Operation[], options: ModelRun): Promise<{ step: number; text: string } | undefined> {
  const model = new Model()
  const made = await options.make()
  try {
    for (const [step, operation] of operations.entries()) {
      const expected = model.run(operation)
      const found = await made.subject.run(operation)
      if (found !== expected) return { step, text: `step ${step}: ${JSON.stringify(operation)}: ${found}, expected ${expected}` }
      if ((step + 1) % STEPS_BETWEEN_SNAPSHOTS !== 0 && step < operations.length - 1) continue
      await options.between?.(made.subject)
      const [there, wanted] = [await made.subject.snapshot(), model.snapshot()]
      const at = wanted.findIndex((line, i) => line !== there[i])
      if (at >= 0 || there.length > wanted.length)
        return {
          step,
          text: `after step ${step}: ${there[Math.max(at, 0)]}, expected ${wanted[Math.max(at, 0)]} (${there.length} and ${wanted.length} entries)`,
        }
    }
    return undefined
  } finally {
    await made.dispose()
  }
}

/** Leaves out as many operations as can be. */
async function shorten(operations: Operation[], options: ModelRun): Promise<Operation[]> {
  let list = operations
  const endsAt = Date.now() + 60_000
  for (let size = list.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < list.length && Date.now() < endsAt; ) {
      const without = [...list.slice(0, at), ...list.slice(at + size)]
      const failure = await firstDifference(without, options)
      if (failure) list = without.slice(0, failure.step + 1)
      else at += size
    }
  }
  return list
}
