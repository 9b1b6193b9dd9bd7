/** The HTTP client over TLS: bulk bytes both ways over one connection, and no word to a server that can't be trusted. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { BackendError } from '../../src/backends/errors.ts'
import { HttpPool } from '../../src/backends/http/pool.ts'

const run = promisify(execFile)
const openssl = spawnSync('openssl', ['version']).status === 0
const real = openssl ? test : test.skip

real(openssl ? 'over TLS' : 'over TLS (openssl not installed)', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-tls-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']) // biome-ignore format: a command line
  let requests = 0
  const server = https.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    requests++
    response.writeHead(200, { 'content-length': request.headers['content-length'] })
    request.pipe(response)
  })
  await new Promise<void>(resolve => server.listen(0, resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo

  const pool = new HttpPool({ secure: true, host: 'localhost', port })
  const error = await t.throwsAsync(
    pool.request(
      { method: 'GET', target: '/', headers: { host: 'localhost' } },
      { head: () => {}, data: () => {} },
      { signal: undefined, repeatable: true },
    ),
  )
  t.true(error instanceof BackendError)
  t.like(error, { kind: 'offline', transient: false } as object)
  t.is(requests, 0)
  pool.close()

  const child = fileURLToPath(new URL('./https-child.ts', import.meta.url))
  const { stdout } = await run(process.execPath, [child, String(port)], { env: { ...process.env, NODE_EXTRA_CA_CERTS: cert } })
  t.is(stdout, 'true 1\ntrue 1\ntrue 1\n')
})
