/**
 * After a start: the tree and the journal brought to agree, whatever the last process left undone.
 *
 * Owns: the steps for each pending node. Must stay true:
 * - What the journal has of a node's content is newer than what the index has of its size.
 * - A node that was made and never closed becomes an empty object, but not over another one; nothing that was answered is given up.
 * - Done before anything is uploaded or listed.
 */
import type { PutAction, Work } from '../../../cache/writeback/work.ts'
import type { ObjectRecord } from '../../../index/object-store.ts'
import { type Attributes, type Ino, isDirectory, isSymlink } from '../../contract.ts'
import type { CloudCore } from './core.ts'
import { sized } from './core.ts'
import { attributesIn } from './metadata.ts'
import type { Planner } from './planner.ts'

const AT_ONCE = 200

export function recover(core: CloudCore, planner: Planner): void {
  const { index, volume, journal } = core
  // What waited for a handle, or for its time, waits no more.
  journal.retryAll(volume)
  journal.presumeTried(volume)
  for (let after = 0; ; ) {
    const records = index.objects.pending(volume, after, AT_ONCE)
    if (records.length === 0) break
    for (const record of records) {
      after = record.ino
      try {
        recoverNode(core, planner, record)
      } catch (error) {
        core.log.error('what a file still waits for could not be found out', error)
      }
    }
    core.commit()
  }
}

function recoverNode(core: CloudCore, planner: Planner, record: ObjectRecord): void {
  const { index, volume, journal } = core
  const attributes = index.node(record.ino)
  if (!attributes) return
  const works = journal.ofNode(volume, record.ino)
  const put = works.filter((work): work is Work & { action: PutAction } => work.action.kind === 'put').at(-1)
  if (put && !isDirectory(attributes.mode)) agreeWith(core, attributes, put.action)
  const isFolder = isDirectory(attributes.mode)
  const key = core.wantedKey(record.ino, isFolder)
  if (key === undefined) return
  if (works.some(work => work.action.kind !== 'delete')) {
    planner.move(attributes)
    return
  }
  if (record.key === undefined) {
    if (!isFolder && !isSymlink(attributes.mode) && record.replaces !== undefined) {
      giveUp(core, record.ino)
      return
    }
    if (isFolder || !isSymlink(attributes.mode))
      planner.put(sized(attributes, isFolder ? attributes.sizeBytes : 0), { root: undefined, sizeBytes: 0 })
    else putTarget(core, planner, attributes)
    if (!isFolder && !isSymlink(attributes.mode) && attributes.sizeBytes > 0) index.putNode(volume, sized(attributes, 0))
    return
  }
  if (record.key !== key) {
    planner.move(attributes)
    return
  }
  // Written to and never closed: the object is what there is.
  if (!isFolder && attributes.sizeBytes !== record.sizeBytes) index.putNode(volume, sized(attributes, record.sizeBytes))
  index.objects.put({ ...record, pending: works.length > 0 })
}

/** Renamed over another file, and nothing of its content was kept: that other one is what there is. */
function giveUp(core: CloudCore, ino: Ino): void {
  const { index, volume } = core
  const link = index.links(ino)[0]
  if (!link) return
  index.removeEntry(volume, link.parent, link.name)
  const directory = core.record(link.parent)
  if (directory.listedMs !== undefined && directory.listedMs > 1) index.objects.put({ ...directory, listedMs: 1 })
}

/** Size and time of what was queued, where the index hasn't heard of it. */
function agreeWith(core: CloudCore, attributes: Attributes, action: PutAction): void {
  if (attributes.sizeBytes === action.sizeBytes) return
  const a = sized(attributes, action.sizeBytes)
  const { mtime } = attributesIn(action.metadata)
  if (mtime) Object.assign(a, { mtimeSec: mtime.sec, mtimeNsec: mtime.nsec })
  core.index.putNode(core.volume, a)
}

/** Queues a symbolic link as an object: its content is the target. */
export function putTarget(core: CloudCore, planner: Planner, attributes: Attributes): void {
  const target = Buffer.from(core.index.objects.target(attributes.ino) ?? '', 'latin1')
  const staged = core.staging.create()
  void staged.write(0, target)
  const { root } = staged.checkpoint()
  staged.park()
  planner.put(attributes, { root, sizeBytes: target.length })
}
