/** Small pieces of the command line: mount options, tables, progress, what is printable. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { LogFile } from '../../src/cli/daemon/log-file.ts'
import { CommandError, EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { MOUNT_WORDS, parseMountOptions } from '../../src/cli/mount-options.ts'
import { ownMountAbove } from '../../src/cli/mounts.ts'
import { OPTIONS, type OptionDeclaration } from '../../src/cli/options.ts'
import { bytes, count, duration } from '../../src/cli/terminal/format.ts'
import { Progress } from '../../src/cli/terminal/progress.ts'
import { table } from '../../src/cli/terminal/table.ts'
import { printable, type Terminal } from '../../src/cli/terminal/terminal.ts'
import { parseMountinfo } from '../../src/sys/mountinfo.ts'

test('-o: what fstab and mount(8) write is understood', t => {
  const options = parseMountOptions([
    'rw,noexec,nosuid,nodev,noauto,user,user=ann,_netdev,x-systemd.automount,nofail,defaults,relatime',
    'fsname=a',
  ])
  t.deepEqual(options, {
    readOnly: false,
    allowOther: false,
    flags: ['noexec', 'nosuid', 'nodev', 'relatime'],
    nonEmpty: false,
    sourceName: 'a',
  })
})

test('-o: our own words, commas in values, the last word wins', t => {
  const options = parseMountOptions(['ro,rw,ro,allow_other,nonempty,library=/a\\,b\\\\c,default_permissions'])
  t.deepEqual(options, { readOnly: true, allowOther: true, flags: [], nonEmpty: true, library: '/a,b\\c' })
})

for (const word of ['uid=1', 'gid=1', 'umask=022', 'nope', 'ro=1', 'library', 'setuid=ann', '__proto__', 'constructor=1']) {
  test(`-o ${word} is refused with a line that names it`, t => {
    const error = t.throws(() => parseMountOptions([word]), { instanceOf: CommandError })
    t.is(error.exit, 'usage')
    t.true(error.message.includes(word.split('=')[0]!))
  })
}

test('no word, no short flag and no exit code is given twice', t => {
  const words = MOUNT_WORDS.flatMap(w => w.words)
  t.is(new Set(words).size, words.length)
  const shorts = Object.values(OPTIONS).flatMap((o: OptionDeclaration) => (o.short ? [o.short] : []))
  t.is(new Set(shorts).size, shorts.length)
  const codes = Object.values(EXIT_CODES).map(e => e.code)
  t.is(new Set<number>(codes).size, codes.length)
})

test('exit codes that were released are what they were', t => {
  t.like(Object.fromEntries(Object.entries(EXIT_CODES).map(([name, { code }]) => [name, code])), {
    ok: 0,
    unexpected: 1,
    usage: 2,
    'no-library': 3,
    'library-in-use': 4,
    'library-unusable': 5,
    mountpoint: 6,
    mount: 7,
    'mounted-elsewhere': 8,
    'not-mounted': 9,
    busy: 10,
    location: 11,
    'no-location': 12,
    differences: 13,
    daemon: 14,
    requirement: 15,
    interrupted: 130,
  })
})

test('names from the disk can not write to the terminal', t => {
  t.is(printable('plain name'), 'plain name')
  t.is(printable(Buffer.from('Müsik 音').toString('latin1')), 'Müsik 音')
  t.is(printable('a\u001b[31mb\nc\u007f'), 'a\\x1b[31mb\\x0ac\\x7f')
  t.is(printable('caf\xe9'), 'caf\\xe9')
  t.is(printable(Buffer.from('a\u202eb').toString('latin1')), 'a\\u202eb')
  t.is(printable(Buffer.from('a\u009bb').toString('latin1')), 'a\\x9bb')
})

test('numbers for people', t => {
  t.is(count(1234567), '1,234,567')
  t.is(bytes(0), '0 B')
  t.is(bytes(1536), '1.5 KiB')
  t.is(bytes(3 * 2 ** 30), '3.0 GiB')
  t.is(duration(59_999), '59 s')
  t.is(duration(7_500_000), '2 h 5 min')
})

test('a table has its columns aligned and no spaces at the end', t => {
  t.deepEqual(
    table(
      ['A', 'B'],
      [
        ['xx', ''],
        ['y', 'zz'],
      ],
    ),
    ['A   B', 'xx', 'y   zz'],
  )
  t.deepEqual(table(['A'], []), [])
})

function recorder(interactive: boolean): Terminal & { readonly drawn: string[]; readonly remarks: string[] } {
  const drawn: string[] = []
  const remarks: string[] = []
  return { interactive, columns: 30, print: () => {}, remark: line => remarks.push(line), draw: text => drawn.push(text), drawn, remarks }
}

test('progress on a terminal: one line, redrawn now and then, cut to the width, cleared at the end', t => {
  const terminal = recorder(true)
  let nowMs = 0
  const progress = new Progress(terminal, () => nowMs)
  for (; nowMs < 1000; nowMs += 10) progress.show(`step ${nowMs} ${'x'.repeat(50)}`)
  progress.end()
  t.is(terminal.remarks.length, 0)
  t.true(terminal.drawn.length <= 12)
  for (const text of terminal.drawn) t.true(text.startsWith('\r\u001b[2K') && text.length <= 5 + 29)
  t.is(terminal.drawn.at(-1), '\r\u001b[2K')
})

test('progress elsewhere: few whole lines, the last one always', t => {
  const terminal = recorder(false)
  let nowMs = 0
  const progress = new Progress(terminal, () => nowMs)
  for (; nowMs < 12_000; nowMs += 100) progress.show(`step ${nowMs}`)
  progress.end()
  progress.end()
  t.deepEqual(terminal.remarks, ['step 0', 'step 5000', 'step 10000', 'step 11900'])
  t.is(terminal.drawn.length, 0)
})

test('a bar shows how far it is', t => {
  const terminal = recorder(false)
  const progress = new Progress(terminal, () => 0)
  progress.show('half', 0.5)
  t.deepEqual(terminal.remarks, ['[##########..........]  50% half'])
})

test('the log file stays within its bound', t => {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-log-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const file = new LogFile(join(directory, 'sdmount.log'))
  for (let i = 0; i < 6000; i++) file.write(`${String(i).padStart(1000, '.')}\n`)
  const files = readdirSync(directory).sort()
  t.deepEqual(files, ['sdmount.log', 'sdmount.log.1', 'sdmount.log.2'])
  for (const name of files) t.true(statSync(join(directory, name)).size <= 1 << 20)
  t.regex(readFileSync(join(directory, 'sdmount.log'), 'utf8'), /5999\n$/)
})

test('an sdmount mount is found above a path, unless another one lies in between', t => {
  const line = (mountPoint: string, type: string) => `1 1 0:1 / ${mountPoint} rw - ${type} source rw`
  const mounts = parseMountinfo(
    [line('/', 'ext4'), line('/m', 'fuse.sdmount'), line('/m/usb', 'ext4'), line('/m\\040x', 'fuse.sdmount')].join('\n'),
  )
  t.is(ownMountAbove('/m', mounts)?.mountPoint, '/m')
  t.is(ownMountAbove('/m/a/b', mounts)?.mountPoint, '/m')
  t.is(ownMountAbove('/m/usb/c', mounts), undefined)
  t.is(ownMountAbove('/mm', mounts), undefined)
  t.is(ownMountAbove('/m x/y', mounts)?.mountPoint, '/m x')
})
