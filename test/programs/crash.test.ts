/** The daemon is killed while programs write: what was promised to them is there after a remount, and nothing hangs. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ALL, BOTH, program, type Running } from './suite.ts'

/**
 * Writes files over and over, and says of each when fsync has answered: "name hash". Every third one is written beside and
 * renamed over, as editors save; every fifth is appended to a log. It ends when the filesystem is gone.
 */
const WRITER = `
import fs from 'node:fs'
import crypto from 'node:crypto'
const hash = data => crypto.createHash('sha1').update(data).digest('hex')
const directory = fs.openSync('.', 'r')
const log = fs.openSync('log', 'a')
try {
  for (let n = 0; ; n++) {
    const data = crypto.randomBytes(100 + (n * 7919) % 90000)
    const name = 'file' + (n % 50)
    const renamed = n % 3 === 0
    // Said before the open: it truncates, also when the daemon dies before it could answer.
    process.stdout.write((renamed ? 'renames ' : 'begins ') + name + ' ' + hash(data) + '\\n')
    const fd = fs.openSync(renamed ? name + '.new' : name, 'w')
    fs.writeSync(fd, data)
    fs.fsyncSync(fd)
    fs.closeSync(fd)
    if (renamed) fs.renameSync(name + '.new', name)
    fs.fsyncSync(directory)
    process.stdout.write('safe ' + name + ' ' + hash(data) + '\\n')
    if (n % 5 === 0) {
      fs.writeSync(log, 'line ' + n + '\\n')
      fs.fdatasyncSync(log)
      process.stdout.write('logged ' + n + '\\n')
    }
  }
} catch (error) {
  process.stdout.write('ended with ' + error.code + '\\n')
}
`

program(
  'kill -9 of the daemon: what was synced is there',
  { needs: ['node'], killsDaemon: true },
  async ({ t, mount, mounted, host, plain, start, run }) => {
    for (let round = 1; round <= 2; round++) {
      const writer = start(process.execPath, ['--input-type=module', '-e', WRITER])
      await writer.says('logged 5\n')
      await sleep(round * 150)
      await mount.kill9()
      await endsSoon(writer)
      // "Transport endpoint is not connected", not a hang; a write under way may also be told that it was cut off.
      t.regex(writer.output, /ended with (ENOTCONN|ECONNABORTED)\n$/)
      t.deepEqual(lost(writer.output, host), [], 'lost on the host')
      mount.clear()
      await mount.start()
      if (mount.owner.uid === 0) t.deepEqual(lost(writer.output, mounted), [], 'lost in the mount')
      await run('cp', ['-r', mounted, `${plain}/round${round}`])
      t.deepEqual(lost(writer.output, `${plain}/round${round}`), [], 'lost to a program in the mount')
      t.deepEqual(await mount.verify(), [], 'the index differs from the disk')
      await run('sh', ['-c', 'rm -f log file*'])
    }
  },
)

/** Files and log lines that were said to be safe and aren't. */
function lost(said: string, directory: string): string[] {
  const words = said.split('\n').map(line => line.split(' '))
  const safe = new Map<string, readonly string[]>()
  for (const [what, name, hash] of words) {
    // Begun again in place, it may hold anything.
    if (what === 'begins') safe.delete(name!)
    // A rename over it leaves the old or the new.
    if (what === 'renames' && safe.has(name!)) safe.set(name!, [...safe.get(name!)!, hash!])
    if (what === 'safe') safe.set(name!, [hash!])
  }
  const wrong = [...safe].filter(
    ([name, hashes]) =>
      !hashes.includes(
        createHash('sha1')
          .update(readFileSync(`${directory}/${name}`))
          .digest('hex'),
      ),
  )
  const log = readFileSync(`${directory}/log`, 'latin1')
  const unlogged = words.filter(([what, n]) => what === 'logged' && !log.includes(`line ${n}\n`))
  return [...wrong, ...unlogged].map(entry => entry.join(' '))
}

async function endsSoon(running: Running): Promise<void> {
  const late = sleep(10_000, 'late', { ref: false })
  if ((await Promise.race([running.ended, late])) === 'late') throw new Error('a program hangs on the dead mount')
}

program(
  'kill -9 of the daemon: a SQLite database in WAL mode stays whole',
  { needs: ['sqlite3', 'sh'], in: BOTH, killsDaemon: true },
  async ({ t, mount, start, run }) => {
    await run('sqlite3', ['-bail', 'test.db', 'PRAGMA journal_mode=wal; CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB);'])
    const insert = 'echo "INSERT INTO t(body) VALUES (randomblob(3000)); SELECT \'row \' || last_insert_rowid();"'
    const writer = start('sh', ['-c', `(echo 'PRAGMA synchronous=FULL;'; while :; do ${insert}; done) | sqlite3 -bail test.db`])
    await writer.says('row 20\n')
    await mount.kill9()
    await endsSoon(writer)
    mount.clear()
    await mount.start()
    const told = Number([...writer.output.matchAll(/row (\d+)\n/g)].at(-1)?.[1])
    const [check, last] = (await run('sqlite3', ['test.db', 'PRAGMA integrity_check; SELECT max(id) FROM t;'])).trim().split('\n')
    t.is(check, 'ok')
    t.true(Number(last) >= told, `row ${told} was committed, the last one is ${last}`)
  },
)

program(
  'a dead mount is replaced by the next one',
  { needs: ['ls'], in: ALL, killsDaemon: true },
  async ({ t, mount, mounted, host, run }) => {
    await run('sh', ['-c', 'mkdir kept; echo still here > kept/file; ln kept/file kept/second'])
    const inode = await run('stat', ['-c', '%i', 'kept', 'kept/file', 'kept/second'])
    await mount.kill9()
    await t.throwsAsync(run('ls', [mounted], { cwd: mount.directory }), { message: /not connected/ })
    mount.clear()
    await mount.start()
    t.is(await run('cat', ['kept/second']), 'still here\n')
    t.is(await run('stat', ['-c', '%i', 'kept', 'kept/file', 'kept/second']), inode, 'inode numbers')
    t.deepEqual(readdirSync(host), ['kept'])
  },
)
