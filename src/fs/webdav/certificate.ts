/**
 * A self-signed certificate for TLS, made once.
 *
 * Owns: the X.509 structure, written as DER (RFC 5280, ECDSA P-256 with SHA-256), and the two files. Must stay true: the
 * key is random, 0600 from its first moment, and never leaves its file; the certificate is for servers only and can sign
 * no other one, so that whoever trusts it trusts nothing else.
 *
 * | file              | content                                          |
 * |-------------------|--------------------------------------------------|
 * | `webdav-key.pem`  | PKCS #8 private key, PEM, mode 0600              |
 * | `webdav-cert.pem` | X.509 certificate, PEM                           |
 */
import { generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'

/** macOS takes no server certificate that lasts longer. */
const VALID_DAYS = 820
const RENEW_DAYS = 30
const DAY_MS = 24 * 3600 * 1000

export interface ServerCertificate {
  /** PEM. */
  readonly key: string
  readonly cert: string
  /** SHA-256, as people compare it: `AB:CD:...`. */
  readonly fingerprint: string
}

/** The certificate in `directory`, for these names and addresses; made anew when there is none that still fits. */
export function ensureCertificate(directory: string, hosts: readonly string[], now: Date): ServerCertificate {
  const keyPath = join(directory, 'webdav-key.pem')
  const certPath = join(directory, 'webdav-cert.pem')
  if (existsSync(keyPath) && existsSync(certPath)) {
    const key = readFileSync(keyPath, 'utf8')
    const cert = readFileSync(certPath, 'utf8')
    if (stillFits(cert, hosts, now)) return { key, cert, fingerprint: fingerprintOf(cert) }
  }
  const made = makeCertificate(hosts, now)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  replaceFile(keyPath, made.key, 0o600)
  replaceFile(certPath, made.cert, 0o644)
  return made
}

/** A new key and its certificate. */
export function makeCertificate(hosts: readonly string[], now: Date): ServerCertificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = sequence(set(sequence(oid('2.5.4.3'), utf8String(`sdmount ${hosts[0] ?? ''}`.trim().slice(0, 64)))))
  const algorithm = sequence(oid('1.2.840.10045.4.3.2'))
  const serial = randomBytes(16)
  // Positive and without a leading zero.
  serial[0] = (serial[0]! & 0x7f) | 0x40
  const extensions = sequence(
    extension('2.5.29.19', true, sequence()),
    extension('2.5.29.15', true, der(0x03, Buffer.from([7, 0x80]))),
    extension('2.5.29.37', false, sequence(oid('1.3.6.1.5.5.7.3.1'))),
    extension('2.5.29.17', false, sequence(...hosts.map(alternativeName))),
  )
  const content = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    algorithm,
    name,
    // A clock that is a little behind must not find it not yet valid.
    sequence(time(new Date(now.getTime() - DAY_MS)), time(new Date(now.getTime() + VALID_DAYS * DAY_MS))),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, extensions),
  )
  const signature = sign('sha256', content, privateKey)
  const whole = sequence(content, algorithm, der(0x03, Buffer.concat([Buffer.from([0]), signature])))
  const base64 = whole.toString('base64').replace(/.{64}/g, '$&\n').trimEnd()
  const cert = `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, cert, fingerprint: fingerprintOf(cert) }
}

/** SHA-256 of the first certificate in a PEM text. */
export function fingerprintOf(cert: string): string {
  return new X509Certificate(cert).fingerprint256
}

function stillFits(cert: string, hosts: readonly string[], now: Date): boolean {
  try {
    const parsed = new X509Certificate(cert)
    const remainingMs = parsed.validToDate.getTime() - now.getTime()
    return (
      remainingMs > RENEW_DAYS * DAY_MS && hosts.every(host => (isIP(host) ? parsed.checkIP(host) : parsed.checkHost(host)) !== undefined)
    )
  } catch {
    return false
  }
}

function replaceFile(path: string, content: string, mode: number): void {
  const temporary = `${path}.new`
  rmSync(temporary, { force: true })
  writeFileSync(temporary, content, { mode, flag: 'wx' })
  renameSync(temporary, path)
}

// --- DER ---

function der(tag: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([tag]), lengthOf(content.length), content])
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length])
  return length < 0x100 ? Buffer.from([0x81, length]) : Buffer.from([0x82, length >> 8, length & 0xff])
}

function sequence(...parts: Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts))
}

function set(...parts: Buffer[]): Buffer {
  return der(0x31, Buffer.concat(parts))
}

function utf8String(text: string): Buffer {
  return der(0x0c, Buffer.from(text, 'utf8'))
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const arc of rest) {
    const groups = [arc & 0x7f]
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80)
    bytes.push(...groups)
  }
  return der(0x06, Buffer.from(bytes))
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [der(0x01, Buffer.from([0xff]))] : []), der(0x04, value))
}

/** GeneralName: dNSName [2] or iPAddress [7]. */
function alternativeName(host: string): Buffer {
  const version = isIP(host)
  if (version === 0) return der(0x82, Buffer.from(host, 'latin1'))
  return der(0x87, version === 4 ? Buffer.from(host.split('.').map(Number)) : ipv6Bytes(host))
}

function ipv6Bytes(address: string): Buffer {
  const [head = '', tail] = address.replace(/%.*$/, '').split('::')
  const groups = (text: string) =>
    (text === '' ? [] : text.split(':')).flatMap(group => (group.includes('.') ? mapped(group) : [Number.parseInt(group, 16)]))
  const front = groups(head)
  const back = tail === undefined ? [] : groups(tail)
  const middle = new Array<number>(8 - front.length - back.length).fill(0)
  return Buffer.from([...front, ...middle, ...back].flatMap(group => [group >> 8, group & 0xff]))
}

/** The last 32 bits may be written as an IPv4 address. */
function mapped(address: string): number[] {
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number)
  return [(a << 8) | b, (c << 8) | d]
}

/** UTCTime until 2049, GeneralizedTime from 2050, as RFC 5280 asks. */
function time(date: Date): Buffer {
  const text = `${date.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`
  return date.getUTCFullYear() < 2050 ? der(0x17, Buffer.from(text.slice(2), 'latin1')) : der(0x18, Buffer.from(text, 'latin1'))
}
