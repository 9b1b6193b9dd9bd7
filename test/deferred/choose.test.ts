/** Which locations have a thread of their own. */
import test from 'ava'
import { chooseDrive } from '../../src/vfs/volumes/location/deferred/choose.ts'

test('what was said counts, whatever the filesystem', t => {
  t.is(chooseDrive({ path: '/proc', drive: 'direct' }), 'direct')
  t.is(chooseDrive({ path: '/', drive: 'deferred' }), 'deferred')
})

test('without a word, a filesystem that is no local disk has a thread', t => {
  t.is(chooseDrive({ path: '/proc', drive: 'auto' }), 'deferred')
  t.is(chooseDrive({ path: '/proc' }), 'deferred')
})

test('a location that was on a server is deferred also while nothing is mounted there', t => {
  const local = { path: '/tmp', drive: 'auto' } as const
  const now = chooseDrive(local)
  t.is(chooseDrive({ ...local, identity: { filesystem: 'ef53:fsid=1', ino: '2' } }), now)
  for (const filesystem of ['6969:', '65735546:', 'ff534d42:', 'fe534d42:'])
    t.is(chooseDrive({ ...local, identity: { filesystem, ino: '2' } }), 'deferred')
})
