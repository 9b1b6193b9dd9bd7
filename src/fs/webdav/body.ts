/**
 * Bodies of requests and answers as streams with bounds.
 *
 * Owns: backpressure and stall timers. Must stay true: no more than one chunk of a request waits here; a client that stops
 * sending or taking is given up after the stall time, and the work for it ends; "100 Continue" is sent only when a
 * body is really wanted, so after login and conditions.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Exchange } from './exchange.ts'
import { Refusal } from './status.ts'

/** The client went away; there is nobody to answer. */
export class ClientGone extends Error {}

/** Hands the body's chunks to `take`, one after the other; the byte count. Ends early when `take` throws. */
export async function streamBody(x: Exchange, take: (chunk: Buffer) => void | Promise<void>): Promise<number> {
  const { request, service } = x
  invite(x)
  let length = 0
  await new Promise<void>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    // The end may be told while the last chunk is still being taken.
    let taking = false
    let ended = false
    const settle = (error?: unknown) => {
      clearTimeout(timer)
      request.removeListener('data', onData)
      request.removeListener('end', onEnd)
      request.removeListener('close', onClose)
      request.removeListener('error', onClose)
      request.pause()
      if (error === undefined) resolve()
      else reject(error)
    }
    const watch = () => {
      clearTimeout(timer)
      timer = setTimeout(() => settle(new Refusal(408, 'the body stopped coming', { close: true })), service.limits.stallMs)
    }
    const onData = (chunk: Buffer) => {
      length += chunk.length
      try {
        const taken = take(chunk)
        if (taken === undefined) {
          timer?.refresh()
          return
        }
        clearTimeout(timer)
        request.pause()
        taking = true
        taken.then(() => {
          taking = false
          if (ended) return onEnd()
          watch()
          request.resume()
        }, settle)
      } catch (error) {
        settle(error)
      }
    }
    const onEnd = () => {
      ended = true
      if (!taking) settle(request.complete ? undefined : new ClientGone())
    }
    const onClose = () => {
      if (!ended) settle(new ClientGone())
    }
    request.on('data', onData)
    request.on('end', onEnd)
    request.on('close', onClose)
    request.on('error', onClose)
    if (request.readableEnded) return onEnd()
    if (request.destroyed) return onClose()
    watch()
  })
  return length
}

/** The whole body of an XML request, within its bounds. */
export async function readBody(x: Exchange): Promise<Buffer> {
  const { limits } = x.service
  const tooLarge = () => new Refusal(413, `the XML body is larger than ${limits.xmlBytes} bytes`, { close: true })
  if ((x.contentLength ?? 0) > limits.xmlBytes) throw tooLarge()
  if (!x.hasBody) return Buffer.alloc(0)
  const encoding = x.header('content-encoding')
  if (encoding !== undefined && encoding !== 'identity') throw new Refusal(415, 'compressed bodies are not accepted', { close: true })
  const chunks: Buffer[] = []
  let length = 0
  const startedAtMs = performance.now()
  await streamBody(x, chunk => {
    length += chunk.length
    if (length > limits.xmlBytes) throw tooLarge()
    if (performance.now() - startedAtMs > limits.xmlTimeoutMs) throw new Refusal(408, 'the body came too slowly', { close: true })
    chunks.push(chunk)
  })
  return Buffer.concat(chunks)
}

/** Says "go on" to a client that waits for it before it sends its body. */
function invite(x: Exchange): void {
  const { request, response } = x
  if (/^100-continue$/i.test(request.headers.expect ?? '') && !response.headersSent) response.writeContinue()
}

/** Writes a chunk of the answer, and waits while the client takes its time. */
export function writeChunk(response: ServerResponse, chunk: Buffer | string, stallMs: number): void | Promise<void> {
  if (response.destroyed) throw new ClientGone()
  if (!response.write(chunk)) return drained(response, stallMs)
}

/** Until the answer's buffer is empty again. */
function drained(response: ServerResponse, stallMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error) => {
      clearTimeout(timer)
      response.removeListener('drain', onDrain)
      response.removeListener('close', onClose)
      if (error) reject(error)
      else resolve()
    }
    const onDrain = () => settle()
    const onClose = () => settle(new ClientGone())
    const timer = setTimeout(() => {
      response.destroy()
      settle(new ClientGone())
    }, stallMs)
    response.on('drain', onDrain)
    response.on('close', onClose)
  })
}

const LINGER_BYTES = 64 << 20
const LINGER_MS = 3000

/**
 * Drops what is left of a body after its answer was written: closing at once would take the answer back from a client
 * that is still sending. True when the body came to its end within the bounds; else the connection is to be broken.
 */
export function discardRest(request: IncomingMessage): Promise<boolean> {
  return new Promise(resolve => {
    let left = LINGER_BYTES
    const settle = (whole: boolean) => {
      clearTimeout(timer)
      resolve(whole)
    }
    const timer = setTimeout(() => settle(false), LINGER_MS)
    request.on('data', (chunk: Buffer) => {
      left -= chunk.length
      if (left < 0) settle(false)
    })
    request.on('end', () => settle(true))
    request.on('close', () => settle(false))
    request.on('error', () => settle(false))
    request.resume()
  })
}
