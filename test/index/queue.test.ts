/**
 * The queue by itself: what is joined, what must not be, and what a commit or its failure leaves. And the set of names.
 */
import test from 'ava'
import { NameSet } from '../../src/index/name-set.ts'
import { RecentChanges } from '../../src/index/recent-changes.ts'
import { WriteQueue } from '../../src/index/write-queue.ts'
import { directoryOf, fileOf } from './support.ts'

function queue(): WriteQueue {
  return new WriteQueue(new RecentChanges(() => 0, 1000))
}

function drain(q: WriteQueue): string[] {
  const taken: string[] = []
  for (let operation = q.take(); operation; operation = q.take()) {
    taken.push(`${operation.kind} ${operation.name || operation.ino}${operation.attributes ? ` ${operation.attributes.sizeBytes}` : ''}`)
  }
  return taken
}

test('attributes put again take the place of those that wait', t => {
  const q = queue()
  q.createEntry(1, 'a', fileOf(10))
  q.createEntry(1, 'b', fileOf(11))
  q.putNode(fileOf(10, { sizeBytes: 100 }))
  q.putNode(fileOf(10, { sizeBytes: 200 }))
  t.deepEqual(drain(q), ['create-entry a 200', 'create-entry b 5'])
})

test('never across a removal or a renaming, never onto another type, never onto what is applied', t => {
  const q = queue()
  q.putNode(fileOf(10))
  q.removeEntry(1, 'a')
  q.putNode(fileOf(10, { sizeBytes: 1 }))
  q.renameEntry(1, 'b', 1, 'c', false)
  q.putNode(fileOf(10, { sizeBytes: 2 }))
  q.putNode(directoryOf(10))
  t.deepEqual(drain(q), ['put-node 10 5', 'remove-entry a', 'put-node 10 1', 'rename-entry b', 'put-node 10 2', 'put-node 10 0'])
  q.putNode(directoryOf(10, { sizeBytes: 3 }))
  t.deepEqual(drain(q), ['put-node 10 3'])
})

test('what was joined across an operation is known until that one is committed', t => {
  const q = queue()
  q.putNode(fileOf(10))
  q.putEntry(1, 'a', 11)
  q.putNode(fileOf(10, { sizeBytes: 1 }))
  q.putNode(fileOf(12))
  const first = q.take()!
  t.is(first.attributes!.sizeBytes, 1)
  q.committed()
  const displacing = q.take()!
  t.true(q.isJoinedAcross(10, displacing.sequence))
  t.false(q.isJoinedAcross(12, displacing.sequence))
  q.committed()
  drain(q)
  q.committed()
  t.is(q.size, 0)
  t.false(q.isJoinedAcross(10, displacing.sequence))
})

test('a failed transaction is applied again', t => {
  const q = queue()
  q.putEntry(1, 'a', 10)
  q.putEntry(1, 'b', 11)
  q.take()
  q.rolledBack()
  t.is(q.waiting, 2)
  t.deepEqual(drain(q), ['put-entry a', 'put-entry b'])
  q.committed()
  t.is(q.size, 0)
})

test('the oldest can be dropped', t => {
  const q = queue()
  for (let i = 0; i < 10; i++) q.putNode(fileOf(10 + i))
  q.take()
  q.drop(5)
  t.is(q.waiting, 5)
  t.is(drain(q)[0], 'put-node 15 5')
})

test('a set of names has those that were added, and no others', t => {
  const set = new NameSet()
  for (let i = 0; i < 100_000; i += 2) set.add(`\xff name ${i}`)
  set.add('')
  let wrong = 0
  for (let i = 0; i < 100_000; i++) if (set.has(`\xff name ${i}`) !== (i % 2 === 0)) wrong++
  t.is(wrong, 0)
  t.true(set.has(''))
  t.false(set.has('\0'))
})
