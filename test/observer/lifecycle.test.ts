/** The observer's thread: start, crash, restart, end, and what the main thread is told of it all. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { createLog } from '../../src/log.ts'
import type { Batch } from '../../src/vfs/volumes/location/observer/observer.ts'
import { largeFolder, shell, temporaryFolder, watch } from './folders.ts'
import { differences, disk, eventually } from './mirror.ts'

const openDescriptors = () => readdirSync('/proc/self/fd').length

test.serial('close ends the thread in the middle of a scan, and leaves nothing open', async t => {
  const folder = largeFolder(t)
  for (let i = 0; i < 3_000; i++) mkdirSync(`${folder}/${i}`)
  const first = watch(t, folder)
  await first.until('scan 1')
  await first.observer.close()
  const before = openDescriptors()
  for (let i = 0; i < 5; i++) {
    const watcher = watch(t, folder)
    await watcher.until('scan 1')
    await watcher.observer.close()
    const told = watcher.story.length + watcher.batches
    await sleep(20)
    t.is(watcher.story.length + watcher.batches, told, 'no callback comes after close')
    t.is(watcher.observer.status().state, 'closed')
    await watcher.observer.close()
  }
  await eventually(() => openDescriptors() === before)
})

test.serial('close before the thread has begun', async t => {
  const watcher = watch(t, temporaryFolder(t))
  await watcher.observer.close()
  t.deepEqual(watcher.story, [])
  t.throws(() => watcher.observer.start())
})

test.serial('a thread that fails is started again', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p a/b; echo x > a/b/x')
  const lines: string[] = []
  const held: Batch[] = []
  const watcher = watch(t, folder, {
    log: createLog(line => lines.push(line)),
    batch(batch: Batch) {
      watcher.mirror.apply(batch.reader)
      held.push(batch)
      watcher.observer.acknowledge(batch)
    },
  })
  let from = await watcher.until('finished 1')
  await eventually(() => watcher.observer.status().counts.watched === 3)
  const before = openDescriptors()
  watcher.observer.failForTest()
  from = await watcher.until('lost', from)
  t.true(
    lines.some(line => line.includes('failed and is started again') && line.includes('as it was told')),
    lines.join(),
  )
  writeFileSync(`${folder}/a/b/meanwhile`, '')
  // What belonged to the old thread means nothing to the new one.
  for (const batch of held.splice(0)) watcher.observer.acknowledge(batch)
  from = await watcher.until('online', from)
  await watcher.until('finished 1', from)
  t.is(watcher.observer.status().restarts, 1)
  t.deepEqual(differences(watcher.mirror.tree(), disk(folder)), [])
  writeFileSync(`${folder}/a/b/after`, '')
  await watcher.agrees(folder)
  // The thread itself has something open now and then, when it looks at the root.
  await eventually(
    () => openDescriptors() === before,
    () => `${openDescriptors()} are open, ${before} were`,
  )
})

test.serial('close while a restart waits', async t => {
  const watcher = watch(t, temporaryFolder(t))
  await watcher.until('finished 1')
  watcher.observer.failForTest()
  await watcher.until('lost')
  await watcher.observer.close()
  await sleep(1_200)
  t.is(watcher.story.filter(line => line === 'online').length, 1)
})

test.serial('sections carry the token that was published before', async t => {
  const folder = temporaryFolder(t)
  const tokens: [string, number][] = []
  const watcher = watch(t, folder, {
    batch(batch: Batch) {
      while (batch.reader.nextSection()) tokens.push([batch.reader.directoryPath, batch.reader.token])
      watcher.observer.acknowledge(batch)
    },
  })
  watcher.observer.publishToken(7)
  await watcher.until('finished 1')
  t.deepEqual(tokens, [['', 7]])
  watcher.observer.publishToken(2 ** 40 + 3)
  mkdirSync(`${folder}/a`)
  await eventually(() => tokens.length >= 3)
  t.deepEqual(tokens.slice(1, 3), [
    ['', 2 ** 40 + 3],
    ['a', 2 ** 40 + 3],
  ])
})

test.serial('a scan with a small share of the time also ends', async t => {
  const folder = largeFolder(t)
  for (let i = 0; i < 500; i++) mkdirSync(`${folder}/${i % 20}/${i}`, { recursive: true })
  const watcher = watch(t, folder)
  watcher.observer.setShare(5)
  await watcher.until('finished 1')
  t.deepEqual(differences(watcher.mirror.tree(), disk(folder)), [])
  t.true(watcher.finished!.entriesPerSecond > 0)
})
