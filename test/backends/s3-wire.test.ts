/** What goes over the wire to S3 and comes back: signatures against published vectors, listings, refusals, addresses. */
import test from 'ava'
import fc from 'fast-check'
import { errorCode, refusalError } from '../../src/backends/s3/answers.ts'
import { parseListing } from '../../src/backends/s3/listing.ts'
import { s3Address } from '../../src/backends/s3/settings.ts'
import { EMPTY_SHA256, encodePath, encodeQuery, encodeValue, Signer } from '../../src/backends/s3/signature.ts'
import { CAUTIOUS_TRAITS, missingGuarantees, readTraits } from '../../src/backends/s3/traits.ts'
import { decodeEntities, encodeEntities, visitXml } from '../../src/backends/s3/xml.ts'
import { errorKind } from '../../src/errors.ts'

// The examples of Amazon's "Signature Calculations for the Authorization Header", with the keys given there.
const CREDENTIALS = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }
const AT_MS = Date.parse('2013-05-24T00:00:00Z')

test('signature: get object', t => {
  const headers: Record<string, string> = { host: 'examplebucket.s3.amazonaws.com', range: 'bytes=0-9' }
  new Signer('us-east-1').sign(
    { method: 'GET', path: '/test.txt', query: '', headers, payloadSha256: EMPTY_SHA256, atMs: AT_MS },
    CREDENTIALS,
  )
  t.regex(headers.authorization!, /Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41$/)
})

test('signature: put object', t => {
  const headers: Record<string, string> = {
    host: 'examplebucket.s3.amazonaws.com',
    date: 'Fri, 24 May 2013 00:00:00 GMT',
    'x-amz-storage-class': 'REDUCED_REDUNDANCY',
  }
  const payloadSha256 = '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072'
  new Signer('us-east-1').sign({ method: 'PUT', path: '/test%24file.text', query: '', headers, payloadSha256, atMs: AT_MS }, CREDENTIALS)
  t.regex(headers.authorization!, /Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd$/)
})

test('signature: list objects', t => {
  const headers: Record<string, string> = { host: 'examplebucket.s3.amazonaws.com' }
  new Signer('us-east-1').sign(
    { method: 'GET', path: '/', query: 'max-keys=2&prefix=J', headers, payloadSha256: EMPTY_SHA256, atMs: AT_MS },
    CREDENTIALS,
  )
  t.regex(headers.authorization!, /Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7$/)
})

test('signature: a session token is signed too', t => {
  const headers: Record<string, string> = { host: 'h' }
  new Signer('r').sign(
    { method: 'GET', path: '/', query: '', headers, payloadSha256: EMPTY_SHA256, atMs: AT_MS },
    { ...CREDENTIALS, sessionToken: 'token' },
  )
  t.is(headers['x-amz-security-token'], 'token')
  t.regex(headers.authorization!, /SignedHeaders=[^,]*x-amz-security-token/)
})

test('encoding: decoding gives back the text, and only unreserved characters stay', t => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), text => {
      const encoded = encodeValue(text)
      return decodeURIComponent(encoded) === text && /^[A-Za-z0-9\-._~%]*$/.test(encoded) && decodeURIComponent(encodePath(text)) === text
    }),
  )
  t.is(encodePath('a/b c+d'), 'a/b%20c%2Bd')
  t.is(encodeQuery({ z: '1', a: 'x/y', none: undefined }), 'a=x%2Fy&z=1')
})

test('listing: encoded and plain, in any order of elements', t => {
  const page = (inner: string) => `<?xml version="1.0"?><ListBucketResult xmlns="x">${inner}</ListBucketResult>`
  const encoded = parseListing(
    page(
      '<Contents><Key>a%2Bb+c%25</Key><ETag>&quot;e1&quot;</ETag><Size>5</Size><LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents><CommonPrefixes><Prefix>d%C3%A4/</Prefix></CommonPrefixes><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>',
    ),
  )
  t.deepEqual(encoded, {
    objects: [{ key: 'a+b c%', sizeBytes: 5, etag: 'e1', modifiedMs: Date.parse('2026-01-02T03:04:05.678Z') }],
    prefixes: ['dä/'],
    next: 't&1',
  })
  const plain = parseListing(
    page('<IsTruncated>false</IsTruncated><Contents><Key>a+b%20&lt;&#x1;</Key><Size>0</Size><ETag>"e"</ETag></Contents>'),
  )
  t.is(plain.objects[0]!.key, 'a+b%20<\u0001')
  t.is(plain.next, undefined)
})

test('listing: half a page is an error, not the end of the bucket', t => {
  t.is(errorKind(t.throws(() => parseListing('<ListBucketResult><Contents><Key>a</Key></Contents>'))), 'io')
  t.is(errorKind(t.throws(() => parseListing('<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>'))), 'io')
  t.is(errorKind(t.throws(() => parseListing(''))), 'io')
})

test('xml: any text survives, any input ends', t => {
  fc.assert(fc.property(fc.string({ unit: 'grapheme' }), text => decodeEntities(encodeEntities(text)) === text))
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('<', '>', '/', '&', ';', '#', 'x', 'a', '1', '!', '?') }), text => {
      let count = 0
      visitXml(text, () => count++)
      return count <= text.length
    }),
  )
  t.is(decodeEntities('&unknown; &#x110000; &#0;'), '&unknown; &#x110000; \0')
})

test('refusals mean one thing each', t => {
  const kind = (status: number, code?: string, condition?: { absent: true } | { match: string }) =>
    refusalError({ operation: 'x', status, code, condition }).kind
  t.is(kind(404, 'NoSuchKey'), 'not-found')
  t.is(kind(404, 'NoSuchBucket'), 'offline')
  t.is(kind(403, 'ExpiredToken'), 'access-denied')
  t.is(kind(412, undefined, { absent: true }), 'exists')
  t.is(kind(412, 'PreconditionFailed', { match: 'e' }), 'stale')
  t.is(kind(503, 'SlowDown'), 'try-again')
  t.is(kind(503), 'try-again')
  t.is(kind(500), 'io')
  t.is(kind(599), 'io')
  t.is(kind(418), 'io')
  t.is(kind(400, 'BadDigest'), 'damaged')
  const slow = refusalError({ operation: 'x', status: 503, code: 'SlowDown', retryAfter: '7' })
  t.like(slow, { transient: true, mayHaveHappened: false, retryAfterMs: 7000 })
  t.like(refusalError({ operation: 'x', status: 500 }), { transient: true, mayHaveHappened: true })
  t.false(refusalError({ operation: 'x', status: 403 }).transient)
  t.is(errorCode(Buffer.from('<Error><Code>SlowDown</Code></Error>')), 'SlowDown')
  t.is(errorCode(Buffer.from('<html>proxy</html>')), undefined)
})

test('addresses', t => {
  t.like(s3Address({ bucket: 'photos', region: 'eu-west-1' }), {
    host: 'photos.s3.eu-west-1.amazonaws.com',
    base: '',
    origin: { secure: true, port: 443 },
  })
  t.like(s3Address({ bucket: 'pho.tos', region: 'eu-west-1' }), { host: 's3.eu-west-1.amazonaws.com', base: '/pho.tos' })
  t.like(s3Address({ bucket: 'photos', region: 'x', endpoint: 'http://[::1]:9000/' }), {
    host: '[::1]:9000',
    base: '/photos',
    origin: { secure: false, host: '::1', port: 9000 },
  })
  t.like(s3Address({ bucket: 'photos', region: 'x', endpoint: 'https://minio.example', pathStyle: false }), {
    host: 'photos.minio.example',
    base: '',
  })
  for (const endpoint of ['minio', 'ftp://x', 'http://user:secret@x', 'http://x/path', 'http://x?y=1']) {
    const error = t.throws(() => s3Address({ bucket: 'photos', region: 'x', endpoint }))
    t.is(errorKind(error), 'invalid')
    t.false(error!.message.includes('secret'))
  }
  t.is(errorKind(t.throws(() => s3Address({ bucket: 'no/slash', region: 'x' }))), 'invalid')
})

test('traits are read from whatever was stored', t => {
  t.deepEqual(readTraits(undefined), CAUTIOUS_TRAITS)
  t.deepEqual(readTraits({ putIfMatch: 'maybe', putIfAbsent: 'yes', writable: 1 }), CAUTIOUS_TRAITS)
  const all = {
    writable: true,
    putIfAbsent: true,
    putIfMatch: 'unquoted',
    completeIfAbsent: true,
    completeIfMatch: true,
    copyIfMatch: true,
    deleteIfMatch: true,
    versions: true,
    etagIsMd5: true,
  }
  t.deepEqual(readTraits(JSON.parse(JSON.stringify({ ...all, later: 1 }))) as unknown, all)
  t.deepEqual(missingGuarantees(readTraits(all)), [])
  t.true(missingGuarantees(CAUTIOUS_TRAITS).length >= 4)
})
