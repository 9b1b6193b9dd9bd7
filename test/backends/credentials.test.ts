/** Keys are kept while they are good, renewed before they expire, and asked for anew when the server refuses them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { KeptCredentials, standardCredentials } from '../../src/backends/s3/credentials.ts'
import { errorKind } from '../../src/errors.ts'

const HOUR_MS = 3600_000

test('credentials are asked for once, also by many at once', async t => {
  let asked = 0
  const kept = new KeptCredentials(async () => ({ accessKeyId: `${++asked}`, secretAccessKey: 's' }))
  const all = await Promise.all(Array.from({ length: 10 }, () => kept.get()))
  t.deepEqual(new Set(all.map(credentials => credentials.accessKeyId)), new Set(['1']))
  const again = kept.get()
  t.false(again instanceof Promise)
})

test('credentials are renewed before they expire', async t => {
  let asked = 0
  const kept = new KeptCredentials(async () => ({
    accessKeyId: `${++asked}`,
    secretAccessKey: 's',
    expiration: new Date(Date.now() + (asked === 1 ? 60_000 : HOUR_MS)),
  }))
  t.is((await kept.get()).accessKeyId, '1')
  t.is((await kept.get()).accessKeyId, '2')
  t.is((await kept.get()).accessKeyId, '2')
})

test('refused credentials are replaced when the provider has others', async t => {
  let nowMs = 0
  let key = 'old'
  const kept = new KeptCredentials(
    async () => ({ accessKeyId: key, secretAccessKey: 's' }),
    () => nowMs,
  )
  const old = await kept.get()
  nowMs = HOUR_MS
  t.is(await kept.refused(old), undefined)
  key = 'new'
  t.is(await kept.refused(old), undefined)
  nowMs = 2 * HOUR_MS
  t.is((await kept.refused(old))?.accessKeyId, 'new')
  t.is((await kept.refused(old))?.accessKeyId, 'new')
})

test('a provider that fails is asked again next time', async t => {
  let asked = 0
  const kept = new KeptCredentials(async () => {
    if (++asked === 1) throw new Error('not yet')
    return { accessKeyId: 'a', secretAccessKey: 's' }
  })
  await t.throwsAsync(async () => kept.get())
  t.is((await kept.get()).accessKeyId, 'a')
})

test('a profile that is not there is one clear line', async t => {
  const error = await t.throwsAsync(standardCredentials('no-such-profile-for-tests'))
  t.is(errorKind(error), 'access-denied')
  t.regex(error!.message, /no credentials for profile "no-such-profile-for-tests"/)
})

test.serial('new keys in the files of the AWS configuration are used without being started anew', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-aws-'))
  const file = join(directory, 'credentials')
  const before = { ...process.env }
  t.teardown(() => {
    process.env = before
    rmSync(directory, { recursive: true, force: true })
  })
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
  Object.assign(process.env, {
    AWS_SHARED_CREDENTIALS_FILE: file,
    AWS_CONFIG_FILE: join(directory, 'config'),
    AWS_EC2_METADATA_DISABLED: 'true',
  })
  const provide = standardCredentials('work')
  for (const key of ['first', 'second']) {
    writeFileSync(file, `[work]\naws_access_key_id = ${key}\naws_secret_access_key = secret\n`)
    t.is((await provide()).accessKeyId, key)
  }
})
