/**
 * Limits what is asked of a store at once, and how fast bytes go.
 *
 * Owns: the gates (downloads, uploads, everything else apart, so that a full upload queue never keeps a reader waiting) and the
 * bandwidth of each direction. Must stay true: nothing is refused, it only waits, and a waiter can be aborted.
 */
import { Bandwidth } from './bandwidth.ts'
import { bodySha256, pacedBody } from './body.ts'
import type { Backend } from './contract.ts'
import { Gate } from './gate.ts'
import { type BackendOperation, type Interceptor, intercept } from './intercept.ts'

export interface BackendLimits {
  readonly downloadsAtOnce: number
  readonly uploadsAtOnce: number
  readonly requestsAtOnce: number
  readonly downloadBytesPerSecond?: number | undefined
  readonly uploadBytesPerSecond?: number | undefined
}

export const DEFAULT_LIMITS: BackendLimits = { downloadsAtOnce: 16, uploadsAtOnce: 8, requestsAtOnce: 16 }

/** `inner`, under limits. */
export function limited(inner: Backend, limits: BackendLimits): Backend {
  const downloads = new Gate(limits.downloadsAtOnce)
  const uploads = new Gate(limits.uploadsAtOnce)
  const requests = new Gate(limits.requestsAtOnce)
  const gateOf = (operation: BackendOperation) =>
    operation === 'get' ? downloads : operation === 'put' || operation === 'put-part' ? uploads : requests
  const interceptor: Interceptor = { around: (call, run) => gateOf(call.operation).pass(call.signal, run) }
  if (limits.downloadBytesPerSecond !== undefined) {
    const down = new Bandwidth(limits.downloadBytesPerSecond)
    interceptor.consume = (consume, signal) => async (chunk, info) => {
      await down.take(chunk.length, signal)
      await consume(chunk, info)
    }
  }
  if (limits.uploadBytesPerSecond !== undefined) {
    const up = new Bandwidth(limits.uploadBytesPerSecond)
    interceptor.prepare = async (body, sha256, signal) => ({
      sha256: sha256 ?? (await bodySha256(body)),
      body: pacedBody(body, bytes => up.take(bytes, signal)),
    })
  }
  return intercept(inner, interceptor)
}
