/**
 * Answers: empty ones, XML ones, and those that say what went wrong.
 *
 * Owns: headers that every answer has. Must stay true: an answer is begun once; an error after that can only end the
 * connection, so that the client doesn't take a part for the whole.
 */
import type { ServerResponse } from 'node:http'
import { describeError, FsError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { ClientGone, discardRest } from './body.ts'
import type { Exchange } from './exchange.ts'
import { Refusal, type RefusalDetails, statusOf } from './status.ts'
import { escapeText, XML_HEAD, XML_TYPE } from './xml-write.ts'

export type Headers = Readonly<Record<string, string | number | readonly string[]>>

/** An answer without a body. */
export function sendEmpty(response: ServerResponse, status: number, headers: Headers = {}): void {
  begin(response, status, status === 304 || status === 204 ? headers : { 'Content-Length': 0, ...headers })
  response.end()
}

/** An answer with a short text or document. */
export function sendText(response: ServerResponse, status: number, type: string, text: string, headers: Headers = {}): void {
  const body = Buffer.from(text, 'utf8')
  begin(response, status, { 'Content-Type': type, 'Content-Length': body.length, ...headers })
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

export function sendXml(response: ServerResponse, status: number, content: string, headers: Headers = {}): void {
  sendText(response, status, XML_TYPE, XML_HEAD + content, headers)
}

/** Status line and headers. */
export function begin(response: ServerResponse, status: number, headers: Headers): void {
  response.statusCode = status
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value as string)
  if (!response.hasHeader('Cache-Control')) response.setHeader('Cache-Control', 'no-store')
}

/** Answers whatever was thrown. */
export function sendError(x: Exchange, error: unknown): void {
  if (error instanceof ClientGone || x.response.destroyed) {
    x.response.destroy()
    return
  }
  const status = statusOf(error)
  if (status === 500) x.service.log.error(`webdav: ${x.method} failed`, error)
  refuse(x.response, status, error, x.service.log)
}

/** Answers an error where there may be no exchange yet. */
export function refuse(response: ServerResponse, status: number, error: unknown, log: Log): void {
  if (response.headersSent) {
    log.debug(`webdav: an answer was cut short: ${describeError(error)}`)
    response.destroy()
    return
  }
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  const details = error instanceof Refusal ? error.details : {}
  const headers: Record<string, string | readonly string[]> = { ...details.headers }
  if (status === 503 && !headers['Retry-After']) headers['Retry-After'] = '5'
  const { req } = response
  const unread = !req.complete && !req.readableEnded
  // A small body is read off, and the connection can go on; a client that waits for "go on" has sent none.
  const small = Number(req.headers['content-length'] ?? LARGE_BYTES) < LARGE_BYTES && req.headers.expect === undefined
  if (details.close || (unread && !small)) headers.Connection = 'close'
  const { type, text } = errorBody(error, details)
  if (!unread || req.headers.expect !== undefined) {
    sendText(response, status, type, text, headers)
    return
  }
  const body = Buffer.from(text)
  begin(response, status, { ...headers, 'Content-Type': type, 'Content-Length': body.length })
  response.write(body)
  void discardRest(req).then(whole => (whole ? response.end() : response.destroy()))
}

const LARGE_BYTES = 1 << 20

function errorBody(error: unknown, { condition, hrefs = [] }: RefusalDetails): { readonly type: string; readonly text: string } {
  if (condition) {
    const named = hrefs.map(href => `<D:href>${escapeText(href)}</D:href>`).join('')
    return { type: XML_TYPE, text: `${XML_HEAD}<D:error xmlns:D="DAV:"><D:${condition}>${named}</D:${condition}></D:error>` }
  }
  const message = error instanceof Refusal || error instanceof FsError ? error.message : 'internal error'
  return { type: 'text/plain; charset=utf-8', text: `${message}\n` }
}
