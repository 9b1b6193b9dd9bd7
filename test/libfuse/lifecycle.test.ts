/** Mounting and unmounting through the FUSE library, and what is left when its process dies. */
import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { Mounted, whyNoLibfuse } from './mounted.ts'

const unable = await whyNoLibfuse()

/** With a mount of its own. */
function mounting(
  title: string,
  kind: 'memory' | 'location',
  body: (t: ExecutionContext, mounted: Mounted) => Promise<void>,
  extra = {},
): void {
  if (unable) test.skip(`${title} (${unable})`, () => {})
  else
    test.serial(title, async t => {
      const mounted = new Mounted(kind, extra)
      t.teardown(() => mounted.dispose())
      await mounted.start()
      await body(t, mounted)
    })
}

const isMounted = (mounted: Mounted) => fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${mounted.mountpoint} `)

/** Waits for what must become true within five seconds. */
async function until(condition: () => boolean): Promise<boolean> {
  for (let i = 0; i < 100; i++) {
    if (condition()) return true
    await sleep(50)
  }
  return false
}

mounting('an unmount ends the process; programs that use it prevent it, unless it is lazy', 'memory', async (t, mounted) => {
  fs.writeFileSync(join(mounted.volume, 'file'), 'x')
  const fd = fs.openSync(join(mounted.volume, 'file'), 'r+')
  await t.throwsAsync(mounted.ask('unmount'), { message: /in use/ })
  t.is(fs.readFileSync(fd, 'utf8'), 'x')
  await mounted.ask('unmount lazily')
  t.false(isMounted(mounted))
  t.is(fs.writeSync(fd, 'y', 0), 1)
  fs.closeSync(fd)
  await mounted.ended()
})

mounting('umount from outside ends the process too', 'memory', async (t, mounted) => {
  const root = process.getuid?.() === 0
  t.is(spawnSync(root ? 'umount' : 'fusermount3', [...(root ? [] : ['-u']), mounted.mountpoint]).status, 0)
  await mounted.ended()
  t.false(isMounted(mounted))
})

mounting('mounted again, everything is there', 'location', async (t, mounted) => {
  fs.mkdirSync(join(mounted.volume, 'a/b'), { recursive: true })
  fs.writeFileSync(join(mounted.volume, 'a/b/c'), 'kept')
  await mounted.unmount()
  t.deepEqual(fs.readdirSync(mounted.mountpoint), [])
  t.is(fs.readFileSync(join(mounted.folder, 'a/b/c'), 'utf8'), 'kept')
  await mounted.start()
  t.is(fs.readFileSync(join(mounted.volume, 'a/b/c'), 'utf8'), 'kept')
})

mounting('after a kill -9 what was written is on the disk, and it can be mounted again', 'location', async (t, mounted) => {
  const path = join(mounted.volume, 'file')
  const fd = fs.openSync(path, 'w')
  fs.writeSync(fd, 'synced')
  fs.fsyncSync(fd)
  const writer = spawn('dd', ['if=/dev/zero', `of=${join(mounted.volume, 'other')}`, 'bs=64k', 'count=100000'], { stdio: 'ignore' })
  const gone = new Promise(resolve => writer.once('exit', resolve))
  await sleep(300)
  await mounted.kill9()
  await gone
  t.throws(() => fs.readFileSync(path), { code: 'ENOTCONN' })
  t.throws(() => fs.writeSync(fd, 'more'))
  t.throws(() => fs.closeSync(fd))
  mounted.clear()
  t.is(fs.readFileSync(join(mounted.folder, 'file'), 'utf8'), 'synced')
  await mounted.start()
  t.is(fs.readFileSync(path, 'utf8'), 'synced')
})

mounting(
  'a read-only mount changes nothing',
  'location',
  async (t, mounted) => {
    fs.writeFileSync(join(mounted.folder, 'file'), 'x')
    const path = join(mounted.volume, 'file')
    t.is(fs.readFileSync(path, 'utf8'), 'x')
    for (const change of [
      () => fs.writeFileSync(path, 'y'),
      () => fs.unlinkSync(path),
      () => fs.chmodSync(path, 0),
      () => fs.mkdirSync(`${path}.d`),
      () => fs.renameSync(path, `${path}.new`),
      () => fs.truncateSync(path),
    ])
      t.throws(change, { code: 'EROFS' })
    t.is(fs.readFileSync(join(mounted.folder, 'file'), 'utf8'), 'x')
  },
  { readOnly: true },
)

mounting('what is changed beside the mount is seen', 'location', async (t, mounted) => {
  fs.mkdirSync(join(mounted.folder, 'a/b'), { recursive: true })
  fs.writeFileSync(join(mounted.folder, 'a/b/file'), 'old')
  const path = join(mounted.volume, 'a/b/file')
  t.is(fs.readFileSync(path, 'utf8'), 'old')
  fs.writeFileSync(join(mounted.folder, 'a/b/file'), 'newer')
  t.true(await until(() => fs.readFileSync(path, 'utf8') === 'newer'))
  fs.renameSync(join(mounted.folder, 'a'), join(mounted.folder, 'z'))
  t.true(await until(() => fs.existsSync(join(mounted.volume, 'z/b/file')) && !fs.existsSync(path)))
  fs.mkdirSync(join(mounted.folder, 'a/b'), { recursive: true })
  fs.writeFileSync(join(mounted.folder, 'a/b/file'), 'another')
  t.true(await until(() => fs.existsSync(path) && fs.readFileSync(path, 'utf8') === 'another'))
})

mounting('names that are not UTF-8 are listed and can be used under the text that stands for them', 'location', async (t, mounted) => {
  const bytes = Buffer.concat([Buffer.from(`${mounted.folder}/caf`), Buffer.from([0xe9])])
  fs.writeFileSync(bytes, 'latin1')
  const shown = 'caf\uefe9'
  t.deepEqual(fs.readdirSync(mounted.volume), [shown])
  t.is(fs.readFileSync(join(mounted.volume, shown), 'utf8'), 'latin1')
  fs.renameSync(join(mounted.volume, shown), join(mounted.volume, `new-${shown}`))
  t.deepEqual(fs.readdirSync(mounted.folder, 'latin1'), ['new-caf\xe9'])
  fs.writeFileSync(Buffer.concat([Buffer.from(`${mounted.folder}/`), Buffer.alloc(100, 0xe9)]), 'too long to be shown')
  t.deepEqual(fs.readdirSync(mounted.volume), [`new-${shown}`])
  t.true(await until(() => mounted.log.includes('1 names of a folder were not listed')))
})
