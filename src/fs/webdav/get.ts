/**
 * GET and HEAD.
 *
 * Owns: the streaming of a file, whole or a range. Must stay true: what is sent is what the headers say, byte for byte, or
 * the connection breaks; one buffer of bounded size per answer; a client that takes nothing for too long is given up.
 */
import { FsError } from '../../errors.ts'
import { O_RDONLY } from '../../sys/flags.ts'
import { type Attributes, isDirectory, isRegular, type Name, type OpenFile } from '../../vfs/contract.ts'
import { ClientGone, writeChunk } from './body.ts'
import { entityTag, evaluateConditions, rangeApplies } from './conditions.ts'
import { contentType } from './content-types.ts'
import { httpDate } from './dates.ts'
import type { Exchange } from './exchange.ts'
import { listingPage } from './listing-page.ts'
import { checkIf } from './lock-rules.ts'
import { type ByteRange, parseRange } from './ranges.ts'
import { begin, sendEmpty } from './respond.ts'
import { Refusal } from './status.ts'

const CHUNK_BYTES = 256 * 1024

export async function get(x: Exchange): Promise<void> {
  const found = await x.walk.resolve(x.target.path)
  await checkIf(x, found)
  if (found.kind !== 'found') throw new Refusal(404, 'not found')
  const { attributes } = found
  if (isDirectory(attributes.mode)) {
    // A browser says that it wants a page; any other client is told that a folder has no content.
    if (!/\btext\/html\b/i.test(x.header('accept') ?? ''))
      throw new Refusal(405, 'a folder has no content', { headers: { Allow: FOLDER_ALLOW } })
    return await listingPage(x, found)
  }
  if (x.target.slash) throw new Refusal(404, 'not a folder')
  if (!isRegular(attributes.mode)) throw new Refusal(403, 'no regular file')
  const name = found.path.at(-1) ?? ''
  if (x.method === 'HEAD') {
    answer(x, attributes, name)
    return
  }
  const { handle, file } = await x.service.vfs.open(x.context, attributes.ino, O_RDONLY)
  try {
    // Of the opened file, so that size, tag and bytes belong together.
    const opened = await x.service.vfs.getattr(x.context, attributes.ino, handle)
    const range = answer(x, opened.attributes, name)
    if (range) await send(x, file, range)
  } finally {
    await x.service.vfs.release(handle)
  }
}

const FOLDER_ALLOW = 'OPTIONS, DELETE, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK'

/** Answers all there is to answer without bytes; else begins the answer and says which bytes belong to it. */
function answer(x: Exchange, attributes: Attributes, name: Name): ByteRange | undefined {
  const { sizeBytes } = attributes
  const validators = { tag: entityTag(attributes), mtimeSec: attributes.mtimeSec }
  const identity = { ETag: validators.tag, 'Last-Modified': httpDate(attributes.mtimeSec), 'Cache-Control': 'private, no-cache' }
  const verdict = evaluateConditions(x.request.headers, validators, true)
  if (verdict === 412) throw new Refusal(412, 'a condition of the request does not hold')
  if (verdict === 304) {
    sendEmpty(x.response, 304, identity)
    return undefined
  }
  const asked = rangeApplies(x.header('if-range'), validators) ? parseRange(x.header('range'), sizeBytes) : 'whole'
  if (asked === 'unsatisfiable')
    throw new Refusal(416, 'the range lies behind the end', { headers: { 'Content-Range': `bytes */${sizeBytes}` } })
  const range = asked === 'whole' ? { start: 0, end: sizeBytes } : asked
  const type = contentType(name)
  begin(x.response, asked === 'whole' ? 200 : 206, {
    ...identity,
    'Content-Type': type,
    'Content-Length': range.end - range.start,
    'Accept-Ranges': 'bytes',
    ...(asked === 'whole' ? {} : { 'Content-Range': `bytes ${range.start}-${range.end - 1}/${sizeBytes}` }),
    ...FILE_GUARDS,
    // A document of the user's may hold scripts: it must not act in this server's name. The viewer for PDF isn't a script.
    'Content-Security-Policy': type === 'application/pdf' ? FILE_POLICY : `${FILE_POLICY}; sandbox`,
  })
  if (x.method === 'HEAD' || range.start === range.end) {
    x.response.end()
    return undefined
  }
  return range
}

const FILE_GUARDS = { 'X-Content-Type-Options': 'nosniff', 'Cross-Origin-Resource-Policy': 'same-origin', 'Referrer-Policy': 'no-referrer' }
const FILE_POLICY = "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"

async function send(x: Exchange, file: OpenFile, range: ByteRange): Promise<void> {
  const { response, context } = x
  const { stallMs } = x.service.limits
  const size = Math.min(CHUNK_BYTES, range.end - range.start)
  let buffer = Buffer.allocUnsafeSlow(size)
  for (let at = range.start; at < range.end; ) {
    if (response.destroyed) throw new ClientGone()
    const into = buffer.subarray(0, Math.min(size, range.end - at))
    const read = file.read(context, at, into)
    const chunk = typeof read === 'number' ? into.subarray(0, read) : await read
    if (chunk.length === 0) throw new FsError('io', 'the file became shorter while it was read')
    at += chunk.length
    const waiting = writeChunk(response, chunk, stallMs)
    if (waiting) await waiting
    // Not waited for, so it may still be on its way: the next read must not overwrite it.
    else if (at < range.end) buffer = Buffer.allocUnsafeSlow(size)
  }
  response.end()
}
