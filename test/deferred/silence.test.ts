/** A location whose filesystem hangs: calls end, the index answers, and all is well when the filesystem answers again. */
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { errorKind } from '../../src/errors.ts'
import { O_RDONLY, O_RDWR } from '../../src/sys/flags.ts'
import type { Answer, Ino, Name, RequestContext, VfsListener } from '../../src/vfs/contract.ts'
import { context, listNames } from '../vfs/volume-contract.ts'
import { type DeferredTestOptions, type OpenedDeferred, openDeferred } from './open.ts'
import { Stoppable, whyNotStoppable } from './stoppable.ts'

/** Long enough for a thread that is only kept waiting by a busy machine. */
const DEADLINE_MS = 5_000

const why = whyNotStoppable()
const hanging = why ? test.serial.skip : test.serial

interface World extends OpenedDeferred {
  readonly server: Stoppable
  readonly ino: (name: string) => Promise<Ino>
}

/** A location on a filesystem that can be stopped, scanned, with `a`, `b` and `d/e` in it. */
async function world(t: ExecutionContext, options: DeferredTestOptions = {}): Promise<World> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sdmount-hanging-')))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const server = await Stoppable.start(directory)
  t.teardown(() => server.dispose())
  writeFileSync(join(server.source, 'a'), 'first')
  writeFileSync(join(server.source, 'b'), 'second')
  mkdirSync(join(server.source, 'd'))
  writeFileSync(join(server.source, 'd', 'e'), 'third')
  const opened = await openDeferred({ deadlineMs: DEADLINE_MS, folder: server.path, ...options })
  let isDisposed = false
  const dispose = async () => {
    if (isDisposed) return
    isDisposed = true
    await opened.dispose()
  }
  // Torn down in the opposite order: the server goes on before the location is closed.
  t.teardown(async () => {
    server.goOn()
    await dispose()
  })
  await opened.becomes('online')
  const ino = async (name: string) => {
    const entry = await opened.volume.lookup(context, opened.volume.rootIno, name)
    if (!entry) throw new Error(`there is no ${name}`)
    return entry.attributes.ino
  }
  return { ...opened, dispose, server, ino }
}

async function kindOf(act: () => Answer<unknown>): Promise<string> {
  try {
    await act()
    return 'no error'
  } catch (error) {
    return errorKind(error) ?? String(error)
  }
}

function under(signal: AbortSignal): RequestContext {
  return { ...context, signal }
}

hanging(
  'while the filesystem hangs, calls fail within the deadline and then at once; names come from the index; it comes back by itself',
  async t => {
    const { volume, server, becomes, ino } = await world(t)
    const a = await ino('a')
    const file = await volume.open(context, a, O_RDWR)
    t.is(String(await file.read(context, 0, Buffer.alloc(100))), 'first')
    server.stop()

    // Whichever comes first says that it waited; none waits for ever.
    t.is(await kindOf(() => file.write(context, 0, Buffer.from('x'), {})), 'timed-out')
    t.is(volume.status().state, 'offline')
    t.is(volume.status().detail, 'its filesystem does not answer')

    // None of these waits: there is nobody to answer.
    t.is(await kindOf(() => volume.open(context, a, O_RDONLY)), 'offline')
    t.is(await kindOf(() => file.read(context, 0, Buffer.alloc(1))), 'offline')
    t.is(await kindOf(() => volume.mkdir(context, volume.rootIno, 'new', 0o755)), 'offline')
    t.is(await kindOf(() => volume.readlink(context, a)), 'offline')
    t.deepEqual((await listNames(volume, volume.rootIno)).sort(), ['a', 'b', 'd'])
    const d = await ino('d')
    t.deepEqual(await listNames(volume, d), ['e'])
    t.is((await volume.getattr(context, a)).attributes.sizeBytes, 5)
    t.is(await volume.lookup(context, volume.rootIno, 'missing'), undefined)
    t.is((await volume.statfs(context, volume.rootIno)).nameLengthBytes, 255)

    server.goOn()
    await becomes('online')
    t.is(await ino('a'), a)
    t.is(String(await file.read(context, 1, Buffer.alloc(100))), 'irst')
    await volume.mkdir(context, volume.rootIno, 'new', 0o755)
    t.true(readdirSync(server.source).includes('new'))
    await file.release()
  },
)

hanging('those that wait behind one that hangs end with it, with what the index says where that is an answer', async t => {
  const { volume, server, ino } = await world(t)
  const a = await ino('a')
  const file = await volume.open(context, a, O_RDWR)
  server.stop()
  const first = kindOf(() => file.write(context, 0, Buffer.from('x'), {}))
  const others = Promise.all([
    kindOf(() => volume.open(context, a, O_RDONLY)),
    Promise.resolve(volume.getattr(context, a)).then(reply => reply.attributes.sizeBytes),
  ])
  t.is(await first, 'timed-out')
  const [opened, sizeBytes] = await others
  t.true(['timed-out', 'offline'].includes(opened), opened)
  t.is(sizeBytes, 5)
  server.goOn()
  await file.release()
})

hanging('what failed by waiting and happened all the same is told, and nothing of it is kept', async t => {
  const told: string[] = []
  const listener: VfsListener = {
    inodeChanged: () => {},
    entryChanged: (_parent: Ino, name: Name) => told.push(name),
    entryRemoved: () => {},
    everythingChanged: () => told.push('everything'),
  }
  const { volume, index, server, becomes } = await world(t, { listener })
  server.stop()
  told.length = 0
  t.is(await kindOf(() => volume.create(context, volume.rootIno, 'late', 0o644, O_RDWR)), 'timed-out')
  t.is(await kindOf(() => volume.create(context, volume.rootIno, 'never', 0o644, O_RDWR)), 'offline')
  server.goOn()
  await becomes('online')
  // One more round through the thread: all that came late has been dealt with.
  const entry = await volume.lookup(context, volume.rootIno, 'late')
  t.true(told.includes('everything'), 'front ends are to ask again')
  t.is(entry !== undefined, readdirSync(server.source).includes('late'), 'the mount and the folder agree')
  t.is(index.lookup(volume.rootIno, 'late')?.ino, entry?.attributes.ino, 'and so does the index')
  t.is(await volume.lookup(context, volume.rootIno, 'never'), undefined)
  t.false(readdirSync(server.source).includes('never'))
})

hanging('a signal ends the wait', async t => {
  const { volume, server, ino } = await world(t, { deadlineMs: 600_000 })
  const a = await ino('a')
  server.stop()
  const abort = new AbortController()
  const opening = kindOf(() => volume.open(under(abort.signal), a, O_RDONLY))
  abort.abort()
  t.is(await opening, 'interrupted')
  t.is(await kindOf(() => volume.open(under(abort.signal), a, O_RDONLY)), 'interrupted')
})

hanging('it can be closed while it hangs', async t => {
  const { volume, server, dispose, ino } = await world(t)
  const a = await ino('a')
  server.stop()
  const opening = kindOf(() => volume.open(context, a, O_RDONLY))
  await dispose()
  t.true(['timed-out', 'io'].includes(await opening))
})

test.serial('what is open when the location is closed stays usable', async t => {
  const opened = await openDeferred()
  const { volume } = opened
  const { file } = await volume.create(context, volume.rootIno, 'a', 0o644, O_RDWR)
  await file.write(context, 0, Buffer.from('before'), {})
  await volume.close()
  await file.write(context, 0, Buffer.from('after!'), {})
  t.is(String(await file.read(context, 0, Buffer.alloc(100))), 'after!')
  await file.release()
  await opened.dispose()
})

test.serial('what was answered is in the index', async t => {
  const opened = await openDeferred()
  t.teardown(() => opened.dispose())
  const { volume, index } = opened
  const root = volume.rootIno
  const { entry, file } = await volume.create(context, root, 'a', 0o600, O_RDWR)
  t.is(index.lookup(root, 'a')?.ino, entry.attributes.ino)
  for (let sizeBytes = 1; sizeBytes <= 50; sizeBytes++) {
    await file.write(context, sizeBytes - 1, Buffer.from('x'), {})
    t.is(index.node(entry.attributes.ino)?.sizeBytes, sizeBytes)
  }
  await volume.setattr(context, entry.attributes.ino, { mode: 0o640 })
  t.is((index.node(entry.attributes.ino)?.mode ?? 0) & 0o777, 0o640)
  await volume.rename(context, root, 'a', root, 'b', 0)
  t.is(index.lookup(root, 'a'), undefined)
  t.is(index.lookup(root, 'b')?.ino, entry.attributes.ino)
  await volume.unlink(context, root, 'b')
  t.is(index.lookup(root, 'b'), undefined)
  await file.release()
})

test.serial("nodes and references don't pile up", async t => {
  const opened = await openDeferred()
  t.teardown(() => opened.dispose())
  const { volume } = opened
  const root = volume.rootIno
  for (let i = 0; i < 600; i++) {
    const { entry, file } = await volume.create(context, root, `f${i}`, 0o600, O_RDWR)
    await file.release()
    volume.forget(entry.attributes.ino, 1)
  }
  // A listing with attributes that is read in slices: what was fetched too much is given back.
  const directory = await volume.opendir(context, root)
  const seen = new Set<Name>()
  let offset = 0n
  for (let more = true; more; ) {
    more = false
    let taken = 0
    await directory.read(context, offset, true, {
      add(name, ino, _type, next, entry) {
        if (taken++ === 7) {
          more = true
          return false
        }
        seen.add(name)
        offset = next
        if (entry) volume.forget(ino, 1)
        return true
      },
    })
  }
  await directory.release()
  t.is(seen.size, 602)
  const signal = AbortSignal.timeout(60_000)
  while (volume.nodeCount > 1 && !signal.aborted) {
    await volume.getattr(context, root)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  t.is(volume.nodeCount, 1)
})

test.serial('a thread that fails is started again; what it had open says so', async t => {
  const opened = await openDeferred()
  t.teardown(() => opened.dispose())
  const { volume, becomes } = opened
  await becomes('online')
  const { entry, file } = await volume.create(context, volume.rootIno, 'a', 0o644, O_RDWR)
  await file.write(context, 0, Buffer.from('kept'), {})
  volume.failForTest()
  t.is(await kindOf(() => file.read(context, 0, Buffer.alloc(10))), 'io')
  t.is(await kindOf(() => file.read(context, 0, Buffer.alloc(10))), 'io')
  await file.release()
  await becomes('online')
  const again = await volume.open(context, entry.attributes.ino, O_RDONLY)
  t.is(String(await again.read(context, 0, Buffer.alloc(10))), 'kept')
  await again.release()
})

hanging('the index can be compared with a folder, and the comparison ends when it hangs', async t => {
  const { volume, server } = await world(t)
  const request = {
    leftOut: [],
    signal: new AbortController().signal,
    settleMs: 1_500,
    difference: async (path: string, kind: string) => {
      t.fail(`${path}: ${kind}`)
    },
    progress: async () => {},
  }
  t.is(await volume.verify(request), 4)
  server.stop()
  t.is(await kindOf(() => volume.verify(request)), 'offline')
})
