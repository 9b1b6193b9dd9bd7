/**
 * Random changes while the observer scans and watches: in the end what was told is what is on disk.
 * A failure prints its seed; SEED=n runs that one alone, ROUNDS=n runs more.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { AT_FDCWD, AT_REMOVEDIR, linux } from '../../src/sys/linux.ts'
import type { ObserverLimits } from '../../src/vfs/volumes/location/observer/protocol.ts'
import { largeFolder, run, watch } from './folders.ts'

const seeds = process.env.SEED
  ? [Number(process.env.SEED)]
  : [192000353, ...Array.from({ length: Number(process.env.ROUNDS ?? 4) }, () => Math.floor(Math.random() * 2 ** 32))]

/** mulberry32. */
function random(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

/** One step of a person in a hurry, in `inside` or (things go out and come back) in `outside`. Failures are part of it. */
function step(pick: (below: number) => number, inside: string, outside: string, links: boolean): void {
  const sys = linux()
  // Few names, so that they meet.
  const name = () => ['a', 'b', 'c', '\xff\xfe', 'x'.repeat(200)][pick(5)]!
  const path = () => {
    let at = pick(12) === 0 ? outside : inside
    for (let depth = pick(5); depth >= 0; depth--) at += `/${name()}`
    return at
  }
  const write = (flags: number, text: string) => {
    const fd = sys.openat(AT_FDCWD, path(), flags | 1, 0o644)
    if (fd < 0) return
    if (text) sys.write(fd, Buffer.from(text))
    sys.close(fd)
  }
  const [one, other] = [path(), path()]
  switch (pick(14)) {
    case 0:
    case 1:
    case 2:
      sys.mkdirat(AT_FDCWD, one, 0o755)
      break
    case 3:
    case 4:
      write(0o100, '')
      break
    case 5:
      write(0o2000, 'more')
      break
    case 6:
    case 7:
    case 8:
      sys.renameat2(AT_FDCWD, one, AT_FDCWD, other, 0)
      break
    case 9:
      sys.renameat2(AT_FDCWD, one, AT_FDCWD, other, 2)
      break
    case 10:
      sys.unlinkat(AT_FDCWD, one, pick(2) ? AT_REMOVEDIR : 0)
      break
    case 11:
      if (links) sys.linkat(AT_FDCWD, one, AT_FDCWD, other, 0)
      break
    case 12:
      sys.chmod(one, 0o700 + pick(0o100))
      break
    case 13:
      if (pick(8)) sys.symlinkat('../a', AT_FDCWD, one)
      // The name with all below it, seldom, so that trees grow. Never the folder itself: a path has at least one name.
      else run('find', Buffer.from(one, 'latin1').toString().includes('\ufffd') ? `${inside}/b` : one, '-delete')
      break
  }
}

const configurations: Record<string, ObserverLimits> = {
  'as it is': {},
  'with small batches and no openat2': { batches: 1, stepwise: true },
  'with events that are lost': { eventsBetweenLosses: 40, rescanMs: 20 },
  'with few watches': { watches: 8, roundMs: 20 },
  'with few names that may wait': { pendingNames: 10 },
  'with hard links': {},
}

for (const [title, limits] of Object.entries(configurations)) {
  test.serial(`random changes are followed ${title}`, async t => {
    // An event comes to the directory of the name through which a file was changed: of other names nothing is told, so
    // that with hard links only the names and what they mean are compared.
    const links = title === 'with hard links'
    for (const seed of seeds) {
      const pick = random(seed)
      const pauses = random(seed + 1)
      const folder = largeFolder(t)
      const inside = `${folder}/in`
      const outside = `${folder}/out`
      run('mkdir', inside, outside)
      const tryStep = () => {
        try {
          step(pick, inside, outside, links)
        } catch {
          // find complains of what isn't there.
        }
      }
      for (let i = 0; i < 1_500; i++) tryStep()
      const watcher = watch(t, inside, { limits })
      for (let burst = 0; burst < 30; burst++) {
        for (let i = pick(60); i >= 0; i--) tryStep()
        if (pick(3) === 0) await sleep(pick(60))
        if (pauses(3) === 0) watcher.observer.pause()
        else watcher.observer.resume()
        if (pick(8) === 0) watcher.observer.rescan(pick(2) ? '' : 'a/b')
        if (pick(3) === 0) watcher.observer.prioritize(['a/b', 'b/c/a', 'c'][pick(3)]!)
        if (burst % 10 === 9) {
          watcher.observer.resume()
          await t.notThrowsAsync(watcher.agrees(inside, 30_000, links), `seed ${seed}, burst ${burst}`)
        }
      }
      // All that is there is followed from now on, too.
      run('bash', '-c', `cd ${inside}; find . -type d -print0 | while IFS= read -r -d '' d; do : > "$d/last"; done`)
      await t.notThrowsAsync(watcher.agrees(inside, 30_000, links), `seed ${seed}, at the end`)
      t.log(
        `seed ${seed}: ${watcher.mirror.tree().size} entries, ${watcher.mirror.rows} rows, ${watcher.story.filter(line => line === 'lost').length} losses`,
      )
      await watcher.observer.close()
    }
  })
}
