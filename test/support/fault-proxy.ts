/**
 * An HTTP proxy that fails as networks and servers do: late, slow, cut off, refused, wrong, or silent.
 * A rule looks at each request and names the fault for it; without one the request goes through untouched.
 */
import http from 'node:http'
import type net from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Fault {
  /** Wait before the request is passed on. */
  readonly latencyMs?: number
  /** Answer this instead of asking the server. */
  readonly status?: number
  readonly code?: string
  readonly retryAfterSeconds?: number
  /** Break the connection after so many bytes of the answer's body (0: before its head). */
  readonly cutAnswerAfterBytes?: number
  /** Break the connection after so many bytes of the request's body; the server gets no more either. */
  readonly cutRequestAfterBytes?: number
  /** Pass the request on, wait for the server to have done it, then break the connection without a word. */
  readonly dropAnswer?: boolean
  readonly flipAnswerByteAt?: number
  readonly flipRequestByteAt?: number
  /** Of the answer's body. */
  readonly bytesPerSecond?: number
  /** Never answer. */
  readonly hang?: boolean
}

export interface ProxiedRequest {
  readonly method: string
  /** Path and query. */
  readonly url: string
  readonly headers: http.IncomingHttpHeaders
  /** Counted from 1 over the life of the proxy. */
  readonly number: number
}

export interface FaultProxy {
  readonly port: number
  readonly endpoint: string
  /** What to do with each request from now on. */
  rule: (request: ProxiedRequest) => Fault | undefined
  readonly requests: ProxiedRequest[]
  /** Bytes of answers' bodies passed on. */
  answeredBytes: number
  close(): Promise<void>
}

/** A proxy on a free loopback port before `targetPort`. */
export async function faultProxy(targetPort: number): Promise<FaultProxy> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 })
  const server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const { socket } = request
    handle(request, response, socket).catch(() => socket.destroy())
  })
  server.on('clientError', (_error, socket) => socket.destroy())
  const requests: ProxiedRequest[] = []

  async function handle(request: http.IncomingMessage, response: http.ServerResponse, socket: net.Socket): Promise<void> {
    const proxied: ProxiedRequest = { method: request.method!, url: request.url!, headers: request.headers, number: requests.length + 1 }
    requests.push(proxied)
    const fault = proxy.rule(proxied) ?? {}
    request.on('error', () => {})
    response.on('error', () => {})
    if (fault.hang) return
    if (fault.latencyMs) await sleep(fault.latencyMs)
    if (fault.status !== undefined) return refuse(request, response, fault)
    const body = await collect(request, fault)
    if (!body) {
      socket.destroy()
      return
    }
    const answer = await forward(request, body)
    if (fault.dropAnswer) {
      answer.resume()
      await new Promise(resolve => answer.on('end', resolve).on('error', resolve))
      socket.destroy()
      return
    }
    await reply(socket, response, answer, fault)
  }

  async function collect(request: http.IncomingMessage, fault: Fault): Promise<Buffer | undefined> {
    const chunks: Buffer[] = []
    let total = 0
    for await (const chunk of request) {
      chunks.push(chunk)
      total += chunk.length
      if (fault.cutRequestAfterBytes !== undefined && total >= fault.cutRequestAfterBytes) return undefined
    }
    const body = Buffer.concat(chunks)
    if (fault.flipRequestByteAt !== undefined && fault.flipRequestByteAt < body.length) body[fault.flipRequestByteAt]! ^= 0xff
    return body
  }

  function forward(request: http.IncomingMessage, body: Buffer): Promise<http.IncomingMessage> {
    return new Promise((resolve, reject) => {
      const onward = http.request(
        { host: '127.0.0.1', port: targetPort, method: request.method, path: request.url, headers: request.headers, agent },
        resolve,
      )
      onward.on('error', reject)
      onward.end(body)
    })
  }

  async function reply(socket: net.Socket, response: http.ServerResponse, answer: http.IncomingMessage, fault: Fault): Promise<void> {
    if (fault.cutAnswerAfterBytes === 0) {
      socket.destroy()
      answer.destroy()
      return
    }
    response.writeHead(answer.statusCode!, answer.rawHeaders)
    let at = 0
    for await (const piece of answer) {
      const chunk = piece as Buffer
      if (fault.flipAnswerByteAt !== undefined && fault.flipAnswerByteAt >= at && fault.flipAnswerByteAt < at + chunk.length)
        chunk[fault.flipAnswerByteAt - at]! ^= 0xff
      const left = fault.cutAnswerAfterBytes === undefined ? chunk.length : Math.max(0, fault.cutAnswerAfterBytes - at)
      const passed = chunk.subarray(0, left)
      proxy.answeredBytes += passed.length
      if (!response.write(passed)) await new Promise(resolve => response.once('drain', resolve).once('close', resolve))
      if (left < chunk.length) {
        await sleep(5)
        socket.destroy()
        answer.destroy()
        return
      }
      if (fault.bytesPerSecond) await sleep((chunk.length / fault.bytesPerSecond) * 1000)
      at += chunk.length
      if (response.destroyed) {
        answer.destroy()
        return
      }
    }
    response.end()
  }

  function refuse(request: http.IncomingMessage, response: http.ServerResponse, fault: Fault): void {
    request.resume()
    request.on('end', () => {
      const body =
        fault.code === undefined
          ? ''
          : `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${fault.code}</Code><Message>told to</Message></Error>`
      response.writeHead(fault.status!, {
        'content-type': 'application/xml',
        'content-length': String(body.length),
        ...(fault.retryAfterSeconds === undefined ? {} : { 'retry-after': String(fault.retryAfterSeconds) }),
      })
      response.end(request.method === 'HEAD' ? '' : body)
    })
  }

  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const proxy: FaultProxy = {
    port,
    endpoint: `http://127.0.0.1:${port}`,
    rule: () => undefined,
    requests,
    answeredBytes: 0,
    async close() {
      agent.destroy()
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
  return proxy
}
