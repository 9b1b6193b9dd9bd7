/** kill -9 in the middle of writing and uploading, again and again, on a real server: nothing that was acknowledged is lost. */
import { fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { composeBackend } from '../../src/backends/compose.ts'
import { S3Backend } from '../../src/backends/s3/s3-backend.ts'
import { listAll, read } from '../backends/contract-suite.ts'
import { s3Server } from '../support/s3-server.ts'
import { contentOf } from './content.ts'
import { World } from './writeback-world.ts'

const server = await s3Server()
const real = typeof server === 'string' ? test.skip : test.serial

real(typeof server === 'string' ? `kill -9 (${server})` : 'kill -9 of the uploader, and of the server', async t => {
  if (typeof server === 'string') return
  const bucket = await server.bucket()
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-kill-'))
  const acknowledged = join(mkdtempSync(join(tmpdir(), 'sdmount-kill-')), 'acknowledged')
  t.teardown(() => {
    rmSync(directory, { recursive: true, force: true })
    rmSync(join(acknowledged, '..'), { recursive: true, force: true })
  })
  writeFileSync(acknowledged, '')
  const child = fileURLToPath(new URL('./writeback-kill-child.ts', import.meta.url))
  const { credentials: _, ...settings } = bucket
  for (let round = 0; round < 6; round++) {
    const running = fork(child, [JSON.stringify({ directory, acknowledged, settings, first: round * 1000 })], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    const exited = new Promise(resolve => running.once('exit', resolve))
    const begun = readFileSync(acknowledged, 'utf8').length
    while (readFileSync(acknowledged, 'utf8').length === begun && running.exitCode === null)
      await new Promise(resolve => setTimeout(resolve, 20))
    await new Promise(resolve => setTimeout(resolve, 100 + round * 150))
    if (round % 2 === 1) await server.killGateway()
    if (round % 2 === 1) await new Promise(resolve => setTimeout(resolve, 200))
    running.kill('SIGKILL')
    await exited
    if (round % 2 === 1) await server.restartGateway()
  }
  const backend = composeBackend(new S3Backend(bucket))
  const world = new World({ backend, directory })
  await world.drain()
  t.deepEqual(world.conflicts, [])
  t.like(world.engine.status(), { queued: 0, failed: 0 })
  const written = readFileSync(acknowledged, 'utf8').trim().split('\n')
  t.true(written.length > 20, `${written.length} written`)
  for (const line of written) {
    const [i, size] = line.split(' ').map(Number) as [number, number]
    const { bytes } = await read(backend, `object ${i}`)
    t.is(Buffer.compare(bytes, contentOf(i, 0, size)), 0, `object ${i}`)
  }
  // The last of each round may have been queued without being acknowledged; nothing else may be there.
  const there = await listAll(backend, '', 1000)
  t.true(there.length <= written.length + 6, `${there.length} objects of ${written.length}`)
  for (const { key } of there) t.regex(key, /^object \d+$/)
  await world.close()
  backend.close()
})
