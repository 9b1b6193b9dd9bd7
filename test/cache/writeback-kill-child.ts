/** Writes and uploads until it is killed; each name is written down once it is acknowledged. */
import { appendFileSync } from 'node:fs'
import { composeBackend } from '../../src/backends/compose.ts'
import { fixedCredentials } from '../../src/backends/s3/credentials.ts'
import { S3Backend } from '../../src/backends/s3/s3-backend.ts'
import { errorKind } from '../../src/errors.ts'
import { contentOf } from './content.ts'
import { World } from './writeback-world.ts'

const { directory, acknowledged, settings, first } = JSON.parse(process.argv[2]!)
const backend = composeBackend(
  new S3Backend({ ...settings, credentials: fixedCredentials({ accessKeyId: 'testkey', secretAccessKey: 'testsecret' }) }),
)
const world = new World({ backend, directory, settings: { multipartBytes: 2 ** 20, partBytes: 5 * 2 ** 20 } })
world.engine.start()
for (let i = first; ; i++) {
  const size = i % 10 === 9 ? 11 * 2 ** 20 + i : 1000 + ((i * 7919) % 200_000)
  try {
    world.put(`object ${i}`, contentOf(i, 0, size), 'absent')
  } catch (error) {
    // The disk of the machine that tests may be full for a moment: then nothing was acknowledged.
    if (errorKind(error) !== 'no-space') throw error
    await new Promise(resolve => setTimeout(resolve, 100))
    continue
  }
  appendFileSync(acknowledged, `${i} ${size}\n`)
  world.engine.kick()
  await new Promise(resolve => setTimeout(resolve, 5))
}
