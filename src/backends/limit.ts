/**
 * Limits what is asked of a store at once, and how fast bytes go.
 *
 * Owns: the gates (downloads, uploads, everything else apart, so that a full upload queue never keeps a reader waiting) and the
 * bandwidth of each direction. Must stay true: nothing is refused, it only waits, and a waiter can be aborted.
 */
import { Bandwidth } from './bandwidth.ts'
import { bodySha256, pacedBody } from './body.ts'
import type { Backend, Body } from './contract.ts'
import { Gate } from './gate.ts'
import { type BackendOperation, type Interceptor, intercept, type PreparedBody } from './intercept.ts'

export interface BackendLimits {
  readonly downloadsAtOnce: number
  readonly uploadsAtOnce: number
  readonly requestsAtOnce: number
  readonly downloadBytesPerSecond?: number | undefined
  readonly uploadBytesPerSecond?: number | undefined
}

export const DEFAULT_LIMITS: BackendLimits = { downloadsAtOnce: 16, uploadsAtOnce: 8, requestsAtOnce: 16 }

/** What several stores share, so that all of them together stay below it. */
export interface SharedBandwidth {
  readonly download: Bandwidth
  readonly upload: Bandwidth
}

/** The limits of one store, which can be changed while it is used. */
export class StoreLimits {
  readonly downloads: Gate
  readonly uploads: Gate
  readonly requests: Gate
  readonly bandwidth: SharedBandwidth

  constructor(limits: BackendLimits, shared?: SharedBandwidth) {
    this.downloads = new Gate(limits.downloadsAtOnce)
    this.uploads = new Gate(limits.uploadsAtOnce)
    this.requests = new Gate(limits.requestsAtOnce)
    this.bandwidth = shared ?? {
      download: new Bandwidth(limits.downloadBytesPerSecond),
      upload: new Bandwidth(limits.uploadBytesPerSecond),
    }
  }
}

/** `inner`, under limits. */
export function limited(inner: Backend, given: BackendLimits | StoreLimits): Backend {
  const limits = given instanceof StoreLimits ? given : new StoreLimits(given)
  const { download, upload } = limits.bandwidth
  const gateOf = (operation: BackendOperation) =>
    operation === 'get' ? limits.downloads : operation === 'put' || operation === 'put-part' ? limits.uploads : limits.requests
  const interceptor: Interceptor = {
    around: (call, run) => gateOf(call.operation).pass(call.signal, run),
    consume: (consume, signal) => {
      if (download.bytesPerSecond === undefined) return consume
      return async (chunk, info) => {
        await download.take(chunk.length, signal)
        await consume(chunk, info)
      }
    },
    prepare: (body, sha256, signal) => {
      if (upload.bytesPerSecond === undefined) return { body, sha256 }
      return paced(body, sha256, bytes => upload.take(bytes, signal))
    },
  }
  return intercept(inner, interceptor)
}

async function paced(body: Body, sha256: string | undefined, pace: Parameters<typeof pacedBody>[1]): Promise<PreparedBody> {
  return { sha256: sha256 ?? (await bodySha256(body)), body: pacedBody(body, pace) }
}
