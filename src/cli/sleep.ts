/** Waiting that can be interrupted. */
import { setTimeout as timer } from 'node:timers/promises'
import { CommandError } from './exit-codes.ts'

/** Resolves after `ms`; throws CommandError 'interrupted' when the signal comes first. */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await timer(ms, undefined, { signal })
  } catch {
    throw new CommandError('interrupted', 'interrupted')
  }
}
