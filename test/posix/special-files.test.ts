/** POSIX: fifos, sockets and devices on a mount, running programs from it, and calls that a signal interrupts. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } from '../../src/sys/flags.ts'
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } from '../../src/vfs/contract.ts'
import { OtherProcess } from '../support/other-process.ts'
import { F_SETLKW, F_WRLCK } from '../support/system-calls.ts'
import { ANNA, semantic } from './suite.ts'

semantic('fifo: what one end writes, the other reads', (w, t) => {
  w.mknod('p', S_IFIFO | 0o600)
  t.is(w.open('p', O_WRONLY | O_NONBLOCK), 'ENXIO')
  const reader = w.fd('p', O_RDONLY | O_NONBLOCK)
  const writer = w.fd('p', O_WRONLY | O_NONBLOCK)
  t.is(w.append(writer, 'through the pipe'), 16)
  t.is(w.attributes('p').size, 0)
  w.close(writer)
  t.is(w.fattributes(reader).type, S_IFIFO)
  w.close(reader)
  t.is(w.program('sh', '-c', 'cat < p & echo over > p; wait').stdout, 'over\n')
  t.is(w.unlink('p'), 0)
})

semantic(
  'socket: a server on the mount answers',
  async (w, t, mount) => {
    // Its path must fit into sockaddr_un, so it is bound from the directory itself.
    if (w.root.length > 90) return t.log('skipped: the temporary directory has a long name')
    if (mount.owner.uid !== process.getuid?.()) {
      const made = w.program(process.execPath, '-e', "require('net').createServer().listen('s', () => process.exit(0))")
      t.is(made.status, 0, made.stderr)
      return
    }
    const path = `${w.root}/s`
    const server = createServer(socket => socket.end('hello'))
    server.listen(path)
    await once(server, 'listening')
    try {
      t.is(w.attributes('s').type, S_IFSOCK)
      const socket = connect(path)
      const [data] = (await once(socket, 'data')) as [Buffer]
      t.is(String(data), 'hello')
      socket.destroy()
    } finally {
      server.close()
      await once(server, 'close')
    }
    t.is(w.lstat('s'), 'ENOENT')
  },
  { mountOnly: true },
)

semantic(
  'devices: nodes are kept, and not opened unless the mount says dev',
  (w, t) => {
    t.is(w.mknod('null', S_IFCHR | 0o666, 1, 3), 0)
    t.is(w.mknod('loop', S_IFBLK | 0o660, 7, 0), 0)
    t.is(w.open('null', O_RDWR), 'EACCES')
    t.is(w.lstat('null') !== 'ENOENT', true)
    t.is(w.chmod('null', 0o600), 0)
    t.is(w.rename('null', 'other'), 0)
    t.like(w.attributes('other'), { type: S_IFCHR, major: 1, minor: 3, mode: 0o600 })
  },
  { needsRoot: true, mountOnly: true },
)

semantic('programs and scripts run from the mount', (w, t) => {
  w.write('echo', Buffer.from(readFileSync('/bin/echo')), 0o755)
  t.is(w.program('./echo', 'it', 'runs').stdout, 'it runs\n')
  w.write('script', '#!/bin/sh\necho "from $0"\n', 0o755)
  t.is(w.program('./script').stdout, 'from ./script\n')
  w.symlink('script', 'link')
  t.is(w.program('./link').stdout, 'from ./link\n')
  w.write('broken', '#!/nowhere\n', 0o755)
  t.is((w.program('./broken').error as NodeJS.ErrnoException).code, 'ENOENT')
  w.chmod('echo', 0o644)
  t.is((w.program('./echo').error as NodeJS.ErrnoException).code, 'EACCES')
})

semantic(
  'set-user-id programs are not that on the mount (nosuid)',
  (w, t) => {
    w.write('id', Buffer.from(readFileSync('/usr/bin/id')), 0o755)
    w.chmod('id', 0o4755)
    w.as(ANNA, () => t.is(w.program('./id', '-u').stdout, `${ANNA.uid}\n`))
  },
  { needsRoot: true, mountOnly: true },
)

semantic(
  'a signal ends a wait for a lock',
  async (w, t) => {
    w.write('f')
    const fd = w.fd('f', O_RDWR)
    w.lock(fd, F_SETLKW, F_WRLCK, 0, 0)
    const [other] = await OtherProcess.startAll(1, w.persona)
    const theirs = (await other!.call('open', w.path('f'), O_RDWR)) as number
    const waiting = other!.call('lock', theirs, F_SETLKW, F_WRLCK, 0, 0)
    await new Promise(resolve => setTimeout(resolve, 100))
    other!.kill('SIGTERM')
    await t.throwsAsync(waiting)
    w.close(fd)
    t.is(w.unlink('f'), 0)
  },
  { mountOnly: true },
)

semantic(
  'programs that are killed in the middle of their work leave the mount in order',
  async (w, t, mount) => {
    if (mount.owner.uid !== process.getuid?.()) return t.pass()
    for (let round = 0; round < 5; round++) {
      const script = 'i=0; while :; do i=$((i+1)); echo $i > f$i; cat f* > /dev/null; mv f$i g$i; rm g$i; ls -la > /dev/null; done'
      const child = spawn('sh', ['-c', script], { cwd: w.root, stdio: 'ignore', detached: true })
      await new Promise(resolve => setTimeout(resolve, 60 + round * 17))
      process.kill(-child.pid!, 'SIGKILL')
      await once(child, 'exit')
    }
    w.write('after', 'works')
    t.is(w.read('after'), 'works')
    const statistics = await mount.statistics()
    t.is(statistics.waiting, 0)
  },
  { mountOnly: true },
)
