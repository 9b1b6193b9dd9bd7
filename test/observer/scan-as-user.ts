/**
 * A child of scan.test.ts: scans a folder of its own as an ordinary user, prints what was told, then opens what was closed
 * and fails unless all is told.
 */
import { chmodSync } from 'node:fs'
import { eventually, Watcher } from './mirror.ts'

const folder = process.argv[2]!
const watcher = new Watcher(folder)
await watcher.until('finished 1')
const tree = [...watcher.mirror.tree()]
const { unreadable, unreadableCount } = watcher.finished!
for (const name of ['closed', 'names-only', 'enter-only']) chmodSync(`${folder}/${name}`, 0o700)
await watcher.agrees(folder)
await eventually(() => watcher.observer.status().counts.unreadableCount === 0)
const { counts } = watcher.observer.status()
if (counts.watched !== counts.known) throw new Error(`${counts.watched} of ${counts.known} are watched`)
process.stdout.write(
  JSON.stringify({ tree, unreadable: [...unreadable].sort((a, b) => (a.path < b.path ? -1 : 1)), count: unreadableCount }),
)
await watcher.observer.close()
