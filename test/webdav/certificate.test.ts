/** The self-signed certificate: read by others, made once, and TLS over it. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import test, { type ExecutionContext } from 'ava'
import { ensureCertificate, makeCertificate } from '../../src/fs/webdav/certificate.ts'
import { basicHeader } from './support/digest-client.ts'
import { serveTree } from './support/served-tree.ts'
import { succeed, testWith } from './support/tools.ts'

const HOSTS = ['localhost', '127.0.0.1', '::1', 'fe80::1:2', '::ffff:10.0.0.1', 'my-machine.local']
const now = new Date('2026-11-20T00:00:00Z')

function temporary(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-certificate-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

test('it says what it should, and signs itself', t => {
  const { key, cert, fingerprint } = makeCertificate(HOSTS, now)
  const parsed = new X509Certificate(cert)
  for (const host of ['localhost', 'my-machine.local']) t.is(parsed.checkHost(host), host)
  for (const address of ['127.0.0.1', '::1', 'fe80::1:2']) t.truthy(parsed.checkIP(address), address)
  t.is(parsed.checkHost('example.com'), undefined)
  t.true(parsed.verify(parsed.publicKey))
  t.true(parsed.checkPrivateKey(createPrivateKey(key)))
  t.false(parsed.ca)
  t.is(parsed.fingerprint256, fingerprint)
  t.true(parsed.validFromDate < now && parsed.validToDate > new Date('2028-01-01'))
  t.true(parsed.validToDate.getTime() - parsed.validFromDate.getTime() < 825 * 24 * 3600 * 1000)
  t.not(makeCertificate(HOSTS, now).fingerprint, fingerprint)
  t.regex(new X509Certificate(makeCertificate(HOSTS, new Date('2049-06-01')).cert).validTo, /2051/)
})

test('made once; made anew when it runs out, lacks a name or is damaged', t => {
  const directory = temporary(t)
  const first = ensureCertificate(directory, HOSTS, now)
  t.is(statSync(join(directory, 'webdav-key.pem')).mode & 0o777, 0o600)
  t.is(ensureCertificate(directory, HOSTS, now).fingerprint, first.fingerprint)
  t.is(ensureCertificate(directory, ['localhost'], now).fingerprint, first.fingerprint)
  const later = ensureCertificate(directory, [...HOSTS, 'other.name'], now)
  t.not(later.fingerprint, first.fingerprint)
  const renewed = ensureCertificate(directory, HOSTS, new Date('2029-02-15'))
  t.not(renewed.fingerprint, later.fingerprint)
  writeFileSync(join(directory, 'webdav-cert.pem'), 'damaged')
  t.not(ensureCertificate(directory, HOSTS, now).fingerprint, renewed.fingerprint)
  t.true(readFileSync(join(directory, 'webdav-cert.pem'), 'utf8').includes('BEGIN CERTIFICATE'))
})

testWith(['openssl'], 'openssl reads it', async t => {
  const directory = temporary(t)
  ensureCertificate(directory, HOSTS, new Date())
  const path = join(directory, 'webdav-cert.pem')
  const text = await succeed(t, 'openssl', ['x509', '-in', path, '-noout', '-text'])
  t.regex(text, /CA:FALSE/)
  t.regex(text, /Digital Signature/)
  t.regex(text, /TLS Web Server Authentication/)
  t.regex(text, /DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1/)
  await succeed(t, 'openssl', ['verify', '-CAfile', path, '-verify_hostname', 'localhost', path])
})

test('the whole over TLS; older versions of it are refused', async t => {
  const { key, cert } = makeCertificate(['localhost', '127.0.0.1'], new Date())
  const { http, server } = await serveTree(t, { tls: { key, cert }, credentials: { user: 'u', password: 'p' } })
  t.regex(server.url, /^https:\/\/127\.0\.0\.1:\d+\/$/)
  const authorization = basicHeader('u', 'p')
  t.is((await http.send('PUT', '/mem/f', { authorization }, 'secret')).status, 201)
  t.is((await http.send('GET', '/mem/f', { authorization })).text, 'secret')
  t.is((await http.send('GET', '/mem/f')).status, 401)
  const destination = `https://127.0.0.1:${server.port}/mem/g`
  t.is((await http.send('MOVE', '/mem/f', { authorization, destination })).status, 201)
  const old = await new Promise<string>(resolve => {
    const socket = connect({ port: server.port, host: '127.0.0.1', maxVersion: 'TLSv1.1', minVersion: 'TLSv1', rejectUnauthorized: false })
    socket.on('secureConnect', () => resolve('connected'))
    socket.on('error', () => resolve('refused'))
  })
  t.is(old, 'refused')
})

test('beyond this machine: Basic is for TLS only', async t => {
  const address = Object.values(networkInterfaces())
    .flat()
    .find(candidate => candidate && candidate.family === 'IPv4' && !candidate.internal)?.address
  if (address === undefined) {
    t.log('skipped: this machine has no address but loopback')
    return t.pass()
  }
  const { key, cert } = makeCertificate([address], new Date())
  const { server } = await serveTree(t, { host: address, tls: { key, cert }, credentials: { user: 'u', password: 'p' } })
  const response = await new Promise<string>((resolve, reject) => {
    const socket = connect({ port: server.port, host: address, ca: cert }, () =>
      socket.write(`OPTIONS / HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`),
    )
    socket.on('data', chunk => resolve(chunk.toString()))
    socket.on('error', reject)
  })
  t.regex(response, /^HTTP\/1.1 200 /)
})
