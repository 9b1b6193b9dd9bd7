/**
 * A vault that version 1 wrote must open for ever. test/fixtures/vault-v1 holds its store (made by `fill` below, with these keys, in
 * three sessions, the second of which ended in a checkpoint and the third without being closed).
 */
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { SecretKey } from '../../src/crypto/secret-key.ts'
import { O_RDWR } from '../../src/sys/flags.ts'
import { S_IFIFO } from '../../src/vfs/contract.ts'
import { FolderStore } from '../../src/vfs/volumes/vault/store/folder-store.ts'
import { VaultVolume } from '../../src/vfs/volumes/vault/vault.ts'
import { context } from '../vfs/volume-contract.ts'
import { dump } from './random-operations.ts'
import { vaultOptions } from './vault-fixture.ts'

const FIXTURE = fileURLToPath(new URL('../fixtures/vault-v1', import.meta.url))
const keys = () => ({ vaultId: Buffer.alloc(16, 0x5a), master: new SecretKey(Buffer.alloc(32, 0xa5)) })
const limits = { checkpointLogBytes: 500 }

/** 100,000 bytes that don't compress. */
function noise(): Buffer {
  const bytes = Buffer.alloc(100_000)
  let state = 1
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

function write(volume: VaultVolume, parent: number, name: string, position: number, bytes: Buffer): number {
  const { entry, file } = volume.create(context, parent, name, 0o644, O_RDWR)
  file.write(context, position, bytes, {})
  file.release()
  return entry.attributes.ino
}

/** Makes the store of the fixture in `folder`. */
async function fill(folder: string, work: string): Promise<void> {
  const open = (sizes = {}) => VaultVolume.open(vaultOptions(keys(), new FolderStore(folder, { readOnly: false }), work, { limits: sizes }))
  await VaultVolume.create(vaultOptions(keys(), new FolderStore(folder, { readOnly: false }), work))
  let volume = await open(limits)
  const d = volume.mkdir(context, volume.rootIno, 'd\xff\xfe', 0o750).attributes.ino
  const raw = write(volume, volume.rootIno, 'raw', 0, noise())
  write(volume, d, 'text', 0, Buffer.from('compressed '.repeat(2000)))
  volume.setxattr(context, raw, 'user.note', Buffer.from([0, 1, 255]), 0)
  await volume.snapshot('before')
  await volume.close()
  volume = await open(limits)
  volume.link(context, raw, d, 'hard link')
  volume.symlink(context, d, 'symbolic', '../nowhere/\xff')
  volume.mknod(context, d, 'pipe', S_IFIFO | 0o600, 0)
  write(volume, volume.rootIno, 'raw', 50_000, Buffer.from('changed since'))
  write(volume, volume.rootIno, 'sparse', 1_000_000, Buffer.from('end'))
  await volume.close()
  volume = await open()
  volume.unlink(context, d, 'text')
  volume.setattr(context, raw, { mode: 0o600, mtime: { sec: 1234, nsec: 5678 } })
  volume.syncfs()
  cpSync(folder, `${folder}-left`, { recursive: true })
  await volume.close()
}

const NOW = [
  'd\xff\xfe 40750  d\xff\xfe  ',
  'd\xff\xfe/hard lin 100600 2 d\xff\xfe/hard lin 100000 100000 82477f9849aa 1234 user.note=c63e8274458b',
  'd\xff\xfe/pipe 10600 1 d\xff\xfe/pipe  ',
  'd\xff\xfe/symbolic 120777 1 d\xff\xfe/symbolic ../nowhere/\xff ',
  'raw 100600 2 d\xff\xfe/hard lin 100000 100000 82477f9849aa 1234 user.note=c63e8274458b',
  'sparse 100644 1 sparse 1000003 1000003 73bab906927c ',
]
const BEFORE = [
  'd\xff\xfe 40750  d\xff\xfe  ',
  'd\xff\xfe/text 100644 1 d\xff\xfe/text 22000 22000 49cbeab3a645 ',
  'raw 100644 1 raw 100000 100000 12dfef61ff5a  user.note=c63e8274458b',
]

test('the vault of version 1 opens, with all that is in it', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-frozen-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const folder = join(directory, 'vault')
  cpSync(FIXTURE, folder, { recursive: true })
  const options = vaultOptions(keys(), new FolderStore(folder, { readOnly: false }), join(directory, 'work'))
  const volume = await VaultVolume.open(options)
  t.deepEqual(dump(volume), NOW)
  const [snapshot] = volume.snapshots()
  t.is(snapshot!.label, 'before')
  const snapshots = volume.lookup(context, volume.rootIno, '.snapshots')!.attributes.ino
  t.deepEqual(dump(volume, volume.lookup(context, snapshots, snapshot!.name)!.attributes.ino), BEFORE)
  t.deepEqual(await volume.check({ repair: false, signal: new AbortController().signal, progress() {} }), [])
  // It goes on.
  write(volume, volume.rootIno, 'new', 0, Buffer.from('written today'))
  await volume.close()
})

test('what is written today is what the fixture has', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-frozen-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  await fill(join(directory, 'vault'), join(directory, 'work'))
  if (process.env.MAKE_FIXTURE !== undefined && !existsSync(FIXTURE)) cpSync(join(directory, 'vault-left'), FIXTURE, { recursive: true })
  const options = vaultOptions(keys(), new FolderStore(join(directory, 'vault-left'), { readOnly: false }), join(directory, 'other'))
  const volume = await VaultVolume.open(options)
  t.deepEqual(dump(volume), NOW)
  await volume.close()
})
