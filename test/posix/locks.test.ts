/** POSIX: record locks, open file description locks, flock, between processes. */
import { O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } from '../../src/sys/flags.ts'
import { OtherProcess } from '../support/other-process.ts'
import {
  F_GETLK,
  F_OFD_SETLK,
  F_OFD_SETLKW,
  F_RDLCK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  LOCK_UN,
  lockStructure,
  testCalls,
} from '../support/system-calls.ts'
import { type Body, semantic } from './suite.ts'

/** With a second process. */
function withOther(title: string, body: (...given: [...Parameters<Body>, OtherProcess]) => Promise<void>): void {
  semantic(title, async (w, t, mount) => {
    const [other] = await OtherProcess.startAll(1, w.persona)
    try {
      await body(w, t, mount, other!)
    } finally {
      other!.end()
    }
  })
}

/** 'waiting' while the promise hasn't settled after a moment. */
async function outcome<T>(promise: Promise<T>, waitMs = 150): Promise<T | 'waiting'> {
  const late = new Promise<'waiting'>(resolve => setTimeout(resolve, waitMs, 'waiting' as const))
  return await Promise.race([promise, late])
}

withOther('record locks: ranges, readers and writers, between two processes', async (w, t, _mount, other) => {
  w.write('f', '0123456789')
  const fd = w.fd('f', O_RDWR)
  const theirs = (await other.call('open', w.path('f'), O_RDWR)) as number
  t.is(w.lock(fd, F_SETLK, F_WRLCK, 0, 10), 0)
  t.is(await other.call('lock', theirs, F_SETLK, F_WRLCK, 5, 1), 'EAGAIN')
  t.is(await other.call('lock', theirs, F_SETLK, F_RDLCK, 0, 0), 'EAGAIN')
  t.is(await other.call('lock', theirs, F_SETLK, F_WRLCK, 10, 5), 0)
  // One's own locks never conflict; a part is given back, the rest stays.
  t.is(w.lock(fd, F_SETLK, F_UNLCK, 4, 2), 0)
  t.is(await other.call('lock', theirs, F_SETLK, F_WRLCK, 4, 2), 0)
  t.is(await other.call('lock', theirs, F_SETLK, F_WRLCK, 3, 1), 'EAGAIN')
  t.is(w.lock(fd, F_SETLK, F_RDLCK, 0, 4), 0)
  t.is(await other.call('lock', theirs, F_SETLK, F_RDLCK, 0, 4), 0)
  t.is(w.lock(fd, F_SETLK, F_WRLCK, 0, 4), 'EAGAIN')
  w.close(fd)
})

withOther('record locks: F_GETLK tells who holds it', async (w, t, _mount, other) => {
  w.write('f')
  const fd = w.fd('f', O_RDWR)
  const theirs = (await other.call('open', w.path('f'), O_RDWR)) as number
  await other.call('lock', theirs, F_SETLK, F_WRLCK, 100, 50)
  const lock = lockStructure(F_WRLCK, 0, 0)
  t.is(
    w.run(() => testCalls().fcntl(fd, F_GETLK, lock)),
    0,
  )
  t.is(lock.readInt16LE(0), F_WRLCK)
  t.is(Number(lock.readBigInt64LE(8)), 100)
  t.is(Number(lock.readBigInt64LE(16)), 50)
  t.is(lock.readInt32LE(24), other.pid)
  await other.call('close', theirs)
  const free = lockStructure(F_WRLCK, 0, 0)
  w.run(() => testCalls().fcntl(fd, F_GETLK, free))
  t.is(free.readInt16LE(0), F_UNLCK)
  w.close(fd)
})

withOther('record locks: waiting for one, and its release by closing', async (w, t, _mount, other) => {
  w.write('f')
  const fd = w.fd('f', O_RDWR)
  const theirs = (await other.call('open', w.path('f'), O_RDWR)) as number
  w.lock(fd, F_SETLK, F_WRLCK, 0, 0)
  const waiting = other.call('lock', theirs, F_SETLKW, F_WRLCK, 0, 0)
  t.is(await outcome(waiting), 'waiting')
  // Closing any descriptor of the file gives all of the process's locks back.
  w.close(w.fd('f', O_RDONLY))
  t.is(await outcome(waiting, 5000), 0)
  w.close(fd)
})

withOther('record locks: a process that dies gives them back', async (w, t, _mount, other) => {
  w.write('f')
  const fd = w.fd('f', O_RDWR)
  const theirs = (await other.call('open', w.path('f'), O_RDWR)) as number
  t.is(await other.call('lock', theirs, F_SETLK, F_WRLCK, 0, 0), 0)
  t.is(w.lock(fd, F_SETLK, F_WRLCK, 0, 0), 'EAGAIN')
  other.kill('SIGKILL')
  await t.notThrowsAsync(async () => {
    for (let tries = 0; w.quietly(() => w.lock(fd, F_SETLK, F_WRLCK, 0, 0)) !== 0; tries++) {
      if (tries > 100) throw new Error('the lock of a dead process stays')
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  })
  w.close(fd)
})

withOther('record locks: a deadlock is refused', async (w, t, _mount, other) => {
  w.write('f')
  const fd = w.fd('f', O_RDWR)
  const theirs = (await other.call('open', w.path('f'), O_RDWR)) as number
  w.lock(fd, F_SETLK, F_WRLCK, 0, 1)
  await other.call('lock', theirs, F_SETLK, F_WRLCK, 1, 1)
  const waiting = other.call('lock', theirs, F_SETLKW, F_WRLCK, 0, 1)
  t.is(await outcome(waiting), 'waiting')
  t.is(w.lock(fd, F_SETLKW, F_WRLCK, 1, 1), 'EDEADLK')
  w.lock(fd, F_SETLK, F_UNLCK, 0, 1)
  t.is(await outcome(waiting, 5000), 0)
  w.close(fd)
})

semantic('record locks need the matching access mode', (w, t) => {
  w.write('f')
  const [reader, writer] = [w.fd('f', O_RDONLY), w.fd('f', O_WRONLY)]
  t.is(w.lock(reader, F_SETLK, F_WRLCK, 0, 0), 'EBADF')
  t.is(w.lock(writer, F_SETLK, F_RDLCK, 0, 0), 'EBADF')
  t.is(w.lock(reader, F_SETLK, F_RDLCK, 0, 0), 0)
  t.is(w.lock(writer, F_SETLK, F_WRLCK, 0, 0), 0)
  w.close(reader)
  w.close(writer)
})

semantic('open file description locks conflict within a process and end with the description', (w, t) => {
  w.write('f')
  const [a, b] = [w.fd('f', O_RDWR), w.fd('f', O_RDWR)]
  t.is(w.lock(a, F_OFD_SETLK, F_WRLCK, 0, 10), 0)
  t.is(w.lock(b, F_OFD_SETLK, F_WRLCK, 5, 10), 'EAGAIN')
  t.is(w.lock(b, F_OFD_SETLK, F_RDLCK, 10, 10), 0)
  // Closing another descriptor of the file leaves them.
  w.close(w.fd('f', O_RDONLY))
  t.is(w.lock(b, F_OFD_SETLK, F_WRLCK, 5, 1), 'EAGAIN')
  w.close(a)
  t.is(w.lock(b, F_OFD_SETLK, F_WRLCK, 5, 1), 0)
  w.close(b)
})

withOther('open file description locks against record locks of another process', async (w, t, _mount, other) => {
  w.write('f')
  const fd = w.fd('f', O_RDWR)
  const theirs = (await other.call('open', w.path('f'), O_RDWR)) as number
  t.is(w.lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0), 0)
  t.is(await other.call('lock', theirs, F_SETLK, F_WRLCK, 0, 0), 'EAGAIN')
  const waiting = other.call('lock', theirs, F_OFD_SETLKW, F_WRLCK, 0, 0)
  t.is(await outcome(waiting), 'waiting')
  w.close(fd)
  t.is(await outcome(waiting, 5000), 0)
})

withOther('flock: shared, exclusive, upgraded, released by the last close', async (w, t, _mount, other) => {
  w.write('f')
  const fd = w.fd('f', O_RDONLY)
  const theirs = (await other.call('open', w.path('f'), O_RDONLY)) as number
  t.is(w.flock(fd, LOCK_SH), 0)
  t.is(await other.call('flock', theirs, LOCK_SH | LOCK_NB), 0)
  t.is(await other.call('flock', theirs, LOCK_EX | LOCK_NB), 'EAGAIN')
  t.is(await other.call('flock', theirs, LOCK_UN), 0)
  t.is(w.flock(fd, LOCK_EX), 0)
  t.is(await other.call('flock', theirs, LOCK_SH | LOCK_NB), 'EAGAIN')
  const copy = w.run(() => testCalls().dup(fd))
  w.close(fd)
  t.is(await other.call('flock', theirs, LOCK_SH | LOCK_NB), 'EAGAIN')
  w.close(copy)
  t.is(await other.call('flock', theirs, LOCK_EX | LOCK_NB), 0)
})

withOther('flock: waiting for it', async (w, t, _mount, other) => {
  w.write('f')
  const fd = w.fd('f', O_RDONLY)
  const theirs = (await other.call('open', w.path('f'), O_RDONLY)) as number
  w.flock(fd, LOCK_EX)
  const waiting = other.call('flock', theirs, LOCK_EX)
  t.is(await outcome(waiting), 'waiting')
  w.flock(fd, LOCK_UN)
  t.is(await outcome(waiting, 5000), 0)
  w.close(fd)
})

semantic('flock and record locks do not meet', (w, t) => {
  const [a, b] = [w.fd('f', O_RDWR | O_CREAT), w.fd('f', O_RDWR)]
  t.is(w.flock(a, LOCK_EX), 0)
  t.is(w.lock(b, F_OFD_SETLK, F_WRLCK, 0, 0), 0)
  w.close(a)
  w.close(b)
})

semantic('flock of a directory', (w, t) => {
  w.mkdir('d')
  const [a, b] = [w.fd('d', O_RDONLY), w.fd('d', O_RDONLY)]
  t.is(w.flock(a, LOCK_EX), 0)
  t.is(w.flock(b, LOCK_EX | LOCK_NB), 'EAGAIN')
  w.close(a)
  t.is(w.flock(b, LOCK_EX | LOCK_NB), 0)
  w.close(b)
})

semantic('locks of a file that was deleted', (w, t) => {
  w.write('f')
  const [a, b] = [w.fd('f', O_RDWR), w.fd('f', O_RDWR)]
  w.unlink('f')
  t.is(w.lock(a, F_OFD_SETLK, F_WRLCK, 0, 0), 0)
  t.is(w.lock(b, F_OFD_SETLK, F_WRLCK, 0, 0), 'EAGAIN')
  w.close(a)
  w.close(b)
})
