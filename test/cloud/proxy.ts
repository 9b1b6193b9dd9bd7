/**
 * The fault proxy in a thread of its own, for tests that wait for programs: their own thread stands still meanwhile.
 * Owns: the faults that can be chosen, by name.
 */
import { Worker } from 'node:worker_threads'
import type { ExecutionContext } from 'ava'
import type { Fault, ProxiedRequest } from '../support/fault-proxy.ts'

export const FAULTS = {
  none: () => undefined,
  /** Bytes are never sent. */
  silent: request => (request.method === 'GET' && !request.url.includes('list-type') ? { hang: true } : undefined),
  /** Bytes come after a while. */
  late: request => (request.method === 'GET' && !request.url.includes('list-type') ? { latencyMs: 3_000 } : undefined),
  ExpiredToken: () => ({ status: 403, code: 'ExpiredToken' }),
  InvalidAccessKeyId: () => ({ status: 403, code: 'InvalidAccessKeyId' }),
} as const satisfies Record<string, (request: ProxiedRequest) => Fault | undefined>

export type FaultName = keyof typeof FAULTS

export interface SwitchedProxy {
  readonly endpoint: string
  choose(fault: FaultName): void
}

/** A proxy before `targetPort`, without faults; it ends with the test. */
export async function switchedProxy(t: ExecutionContext, targetPort: number): Promise<SwitchedProxy> {
  const chosen = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(new URL('./proxy-worker.ts', import.meta.url), { workerData: { targetPort, chosen } })
  t.teardown(() => worker.terminate())
  const endpoint = await new Promise<string>((resolve, reject) => worker.once('message', resolve).once('error', reject))
  return { endpoint, choose: fault => void Atomics.store(chosen, 0, Object.keys(FAULTS).indexOf(fault)) }
}
