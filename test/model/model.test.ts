/**
 * Random operations on the reference model and on what it stands for: a plain folder (is the model right?), the memory
 * volume, a location called in process and one driven by a thread, and a location through a real mount. SEED=n runs one seed, ROUNDS=n more of them.
 */
import { chownSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { silentLog } from '../../src/log.ts'
import { RENAME_EXCHANGE } from '../../src/vfs/contract.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { openLocation } from '../../src/vfs/volumes/location/location.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { openDeferred } from '../deferred/open.ts'
import { mountTemporary, whyNoMount } from '../support/mount.ts'
import { openTestIndex } from '../support/test-index.ts'
import { FolderSubject } from './folder-subject.ts'
import type { Operation } from './operations.ts'
import { type MadeSubject, type ModelRun, runModel, runOperations, seeds } from './run.ts'
import { VolumeSubject } from './volume-subject.ts'

const ROUNDS = 3
const STEPS = Number(process.env.STEPS ?? 1500)

function temporary(): string {
  return realpathSync(mkdtempSync(join(tmpdir(), 'sdmount-model-')))
}

const me = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }

const plain: Omit<ModelRun, 'steps'> = {
  hardLinks: true,
  make() {
    const root = temporary()
    const subject = new FolderSubject(root, me)
    return {
      subject,
      dispose() {
        subject.dispose()
        rmSync(root, { recursive: true, force: true })
      },
    }
  },
}

const memory: Omit<ModelRun, 'steps'> = {
  hardLinks: true,
  make() {
    const volume = new MemoryVolume()
    const subject = new VolumeSubject(volume)
    return {
      subject,
      async dispose() {
        await subject.dispose()
        await volume.close()
      },
    }
  },
}

const location: Omit<ModelRun, 'steps'> = {
  hardLinks: true,
  async make() {
    const directory = temporary()
    const folder = join(directory, 'folder')
    for (const path of [folder, join(directory, 'index')]) mkdirSync(path)
    const index = await openTestIndex(join(directory, 'index'), silentLog)
    const tree = new Tree({ log: silentLog })
    const volume = openLocation({
      record: index.addVolume('location', 'folder', { path: Buffer.from(folder).toString('latin1') }),
      index,
      log: silentLog,
      listener: tree.listener,
      ownMountpoints: () => [],
      routeSlot: (slot, routed) => tree.routeSlot(slot, routed),
    })
    const subject = new VolumeSubject(volume)
    return {
      subject,
      async dispose() {
        await subject.dispose()
        await volume.close()
        index.close()
        rmSync(directory, { recursive: true, force: true })
      },
    }
  },
}

const deferred: Omit<ModelRun, 'steps'> = {
  hardLinks: true,
  async make() {
    const opened = await openDeferred()
    const subject = new VolumeSubject(opened.volume)
    return {
      subject,
      async dispose() {
        await subject.dispose()
        await opened.dispose()
      },
    }
  },
}

const inProcess: Record<string, Omit<ModelRun, 'steps'>> = {
  'a plain folder': plain,
  'the memory volume': memory,
  'a location': location,
  'a location with a thread of its own': deferred,
}

for (const [title, run] of Object.entries(inProcess)) {
  test.serial(`${title} does what the model says`, async t => {
    for (const seed of seeds(ROUNDS)) await runModel(t, seed, { ...run, steps: STEPS })
  })
}

/** What random runs have found, in the subjects or in the model itself. */
const regressions: Record<string, readonly Operation[]> = {
  'a copy of a file behind its own end ends where the file ended': [
    { op: 'open', slot: 3, path: 'a', how: ['create'] },
    { op: 'truncate', slot: 3, size: 10_385 },
    { op: 'copy', from: 3, offset: 1004, to: 3, target: 72_542, length: 40_000 },
  ],
  'a listing through a symlink that was exchanged': [
    { op: 'open', slot: 3, path: 'a', how: ['create'] },
    { op: 'symlink', path: 'c', target: 'nowhere/6' },
    { op: 'rename', path: 'a', to: 'c', flags: RENAME_EXCHANGE },
    { op: 'list', path: 'a' },
  ],
}

for (const [title, run] of Object.entries(inProcess))
  for (const [name, operations] of Object.entries(regressions)) test.serial(`${title}: ${name}`, t => runOperations(t, operations, run))

for (const [title, asUser, passthrough, drive] of [
  ['root, passthrough', 'root', true, 'direct'],
  ['root, no passthrough', 'root', false, 'direct'],
  ['root, a thread of its own', 'root', false, 'deferred'],
  ['ordinary user', 'sdmount-test', false, 'direct'],
  ['ordinary user, a thread of its own', 'sdmount-test', false, 'deferred'],
] as const) {
  const why = whyNoMount(asUser)
  const declared = why ? test.skip : test.serial
  declared(`a location through a mount (${title}) does what the model says${why ? ` (${why})` : ''}`, async t => {
    const mount = await mountTemporary({ asUser, passthrough, drive })
    let count = 0
    const make = (): MadeSubject => {
      const name = `root${++count}`
      // Made beside the mount: root may not look into the mount of another user.
      mkdirSync(join(mount.folder.path, name))
      chownSync(join(mount.folder.path, name), mount.owner.uid, mount.owner.gid)
      const subject = new FolderSubject(join(mount.folder.mounted, name), mount.owner)
      return { subject, dispose: () => subject.dispose() }
    }
    try {
      for (const seed of seeds(ROUNDS)) await runModel(t, seed, { hardLinks: true, steps: STEPS, make })
      t.deepEqual(await mount.verify(), [], 'the index differs from the disk')
      t.is(mount.log, '', 'the daemon had something to say')
    } finally {
      await mount.dispose()
    }
  })
}
