/** Changes beside the mount that come between what the kernel was told and what it asks for then. */
import { chmodSync, existsSync, linkSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { O_CREAT, O_PATH, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/sys/flags.ts'
import { linux } from '../../src/sys/linux.ts'
import type { TestMount } from '../support/mount.ts'
import { ANNA, semantic } from './suite.ts'
import type { World } from './world.ts'

const NOTICED_MS = 700

/** The directory of a world, by its own path. */
function beside(w: World, mount: TestMount): string {
  return mount.folder.path + w.root.slice(mount.folder.mounted.length)
}

semantic(
  'O_TRUNC cuts the file that is opened, not what took its last known name meanwhile',
  async (w, t, mount) => {
    const host = beside(w, mount)
    for (let round = 0; round < 8; round++) {
      const [x, y] = [`x${round}`, `y${round}`]
      writeFileSync(`${host}/${x}`, 'content')
      linkSync(`${host}/${x}`, `${host}/${y}`)
      await sleep(50)
      const fd = w.fd(x, O_PATH)
      w.attributes(y)
      writeFileSync(`${host}/new`, 'important')
      renameSync(`${host}/new`, `${host}/${y}`)
      const again = w.open(`/proc/self/fd/${fd}`, O_WRONLY | O_TRUNC)
      if (typeof again === 'number') w.close(again)
      w.close(fd)
      t.is(readFileSync(`${host}/${y}`, 'utf8'), 'important')
      if (typeof again === 'number') t.is(readFileSync(`${host}/${x}`, 'utf8'), '')
    }
  },
  { mountOnly: true },
)

semantic(
  'a name that went and came back under a file that is held: it is seen again',
  async (w, t, mount) => {
    const host = beside(w, mount)
    writeFileSync(`${host}/a`, '')
    await sleep(NOTICED_MS)
    const fd = w.fd('a', O_RDONLY)
    renameSync(`${host}/a`, `${host}/b`)
    await sleep(NOTICED_MS)
    t.is(w.lstat('a'), 'ENOENT')
    renameSync(`${host}/b`, `${host}/a`)
    await sleep(NOTICED_MS)
    t.not(w.lstat('a'), 'ENOENT')
    w.close(fd)
  },
  { mountOnly: true },
)

semantic(
  'O_CREAT opens nothing that the caller may not open, also when it came a moment ago',
  async (w, t, mount) => {
    const host = beside(w, mount)
    chmodSync(host, 0o777)
    await sleep(NOTICED_MS)
    for (let round = 0; round < 40; round++) {
      const name = `secret${round}`
      t.is(w.lstat(name), 'ENOENT') // The kernel believes it for a while.
      writeFileSync(`${host}/${name}`, 'secret', { mode: 0o600 })
      const opened = w.as(ANNA, () => w.open(name, O_CREAT | O_RDWR | O_TRUNC, 0o600))
      t.is(opened, 'EACCES')
      t.true(existsSync(`${host}/${name}`))
      t.is(readFileSync(`${host}/${name}`, 'utf8'), 'secret')
    }
  },
  { mountOnly: true, needsRoot: true },
)

semantic(
  'an extended attribute that was missing is there as soon as it is set beside the mount',
  async (w, t, mount) => {
    const name = 'security.selinux'
    if (existsSync('/sys/fs/selinux')) return t.pass('every file has a label here')
    const host = beside(w, mount)
    writeFileSync(`${host}/f`, '')
    for (let round = 0; round < 3; round++) {
      // A file that nobody changed for a while may be remembered to lack the attribute.
      await sleep(3_000)
      t.is(w.getxattr('f', name), 'ENODATA')
      t.is(w.getxattr('f', name), 'ENODATA')
      t.is(linux().lsetxattr(`${host}/f`, name, Buffer.from(`label ${round}`), 0), 0)
      t.is(w.getxattr('f', name), `label ${round}`)
      t.is(linux().lremovexattr(`${host}/f`, name), 0)
      t.is(w.getxattr('f', name), 'ENODATA')
    }
  },
  { mountOnly: true, needsRoot: true },
)
