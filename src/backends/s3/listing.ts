/**
 * Reads the answer to ListObjectsV2.
 *
 * Owns: the form of one listing page. It doesn't know requests. Must stay true: keys come back exactly as they were written,
 * whatever characters they hold (the server sends them percent-encoded where it can, since XML can't hold all of them).
 */
import type { ListedObject, ListPage } from '../contract.ts'
import { BackendError } from '../errors.ts'
import { bareETag } from './answers.ts'
import { decodeEntities, visitXml } from './xml.ts'

/** Throws 'io' for what isn't a listing. */
export function parseListing(xml: string): ListPage {
  // The order of elements is not promised: a key may come before the word on how it is encoded.
  const decode = xml.includes('<EncodingType>url</EncodingType>') ? decodeUrl : decodeEntities
  const objects: ListedObject[] = []
  const prefixes: string[] = []
  let key = ''
  let sizeBytes = 0
  let etag = ''
  let modifiedMs = 0
  let prefix = ''
  let truncated = false
  let next: string | undefined
  let complete = false
  visitXml(xml, (name, raw) => {
    switch (name) {
      case 'Key':
        key = decode(raw)
        break
      case 'Size':
        sizeBytes = Number(raw)
        break
      case 'ETag':
        etag = bareETag(decodeEntities(raw))
        break
      case 'LastModified':
        modifiedMs = Date.parse(raw)
        break
      case 'Contents':
        objects.push({ key, sizeBytes, etag, modifiedMs })
        break
      case 'Prefix':
        prefix = raw
        break
      case 'CommonPrefixes':
        prefixes.push(decode(prefix))
        break
      case 'IsTruncated':
        truncated = raw === 'true'
        break
      case 'NextContinuationToken':
        next = decodeEntities(raw)
        break
      case 'ListBucketResult':
        complete = true
    }
  })
  if (!complete) throw new BackendError('io', 'the listing is not complete', { operation: 'list', transient: true })
  if (truncated && next === undefined)
    throw new BackendError('io', 'the listing says that it goes on, but not where', { operation: 'list' })
  return { objects, prefixes, next: truncated ? next : undefined }
}

function decodeUrl(raw: string): string {
  const text = decodeEntities(raw)
  if (!text.includes('%') && !text.includes('+')) return text
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    throw new BackendError('bad-name', 'the server lists a name that is not valid Unicode text', { operation: 'list' })
  }
}
