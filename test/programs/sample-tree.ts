/**
 * A tree with one of everything that a copy can lose.
 *
 * Owns: what is in it: names that aren't text, all types, all permission bits, times before 1970 and after 2106, holes,
 * hard links across directories, extended attributes and ACLs. What only root can make is made where root makes the tree.
 */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { AT_FDCWD, linux } from '../../src/sys/linux.ts'
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } from '../../src/vfs/contract.ts'

export interface SampleOptions {
  /** Devices, other owners, trusted attributes, capabilities. */
  readonly asRoot: boolean
}

/** Fills an existing directory. */
export function makeSampleTree(root: string, options: SampleOptions): void {
  const sys = linux()
  const at = (name: string) => `${root}/${name}`
  const must = (result: number, what: string) => {
    if (result < 0) throw new Error(`${what}: errno ${-result}`)
  }
  const attribute = (name: string, key: string, value: string) =>
    must(sys.lsetxattr(at(name), key, Buffer.from(value), 0), `${key} of ${name}`)

  // Contents of all sizes, and a file with holes at its beginning, middle and end.
  mkdirSync(at('sizes'))
  for (const size of [0, 1, 511, 4095, 4096, 4097, 65_536, 1_048_577])
    writeFileSync(at(`sizes/${size}`), Buffer.alloc(size, `${size} bytes `))
  const sparse = openSync(at('sizes/sparse'), 'w')
  ftruncateSync(sparse, 40 << 20)
  for (const offset of [5 << 20, 17 << 20, 30 << 20]) writeSync(sparse, Buffer.alloc(70_000, 'data'), 0, 70_000, offset)
  closeSync(sparse)

  // Names: the longest, with line breaks, not UTF-8, with everything a shell trips over.
  mkdirSync(at('names'))
  const names = [
    'n'.repeat(255),
    'line\nbreak',
    ' leading and trailing ',
    '-rf',
    '*?[a]',
    'quo\'te"s',
    '\\back',
    '\xff\xfe not text',
    'caf\xc3\xa9',
    '...',
  ]
  for (const name of names) {
    const fd = sys.openat(AT_FDCWD, `${Buffer.from(at('names')).toString('latin1')}/${name}`, 0o101, 0o644)
    must(fd, name)
    closeSync(fd)
  }
  mkdirSync(at('deep'))
  let deep = at('deep')
  for (let i = 0; i < 40; i++) mkdirSync((deep += `/level${i}`))
  writeFileSync(`${deep}/bottom`, 'here')

  // Permission bits of files and directories.
  mkdirSync(at('modes'))
  for (const mode of [0o000, 0o400, 0o444, 0o200, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1644]) {
    writeFileSync(at(`modes/${mode.toString(8)}`), 'mode')
    chmodSync(at(`modes/${mode.toString(8)}`), mode)
  }
  for (const mode of [0o1777, 0o2775, 0o700, 0o555]) {
    mkdirSync(at(`modes/directory ${mode.toString(8)}`))
    chmodSync(at(`modes/directory ${mode.toString(8)}`), mode)
  }

  // One file with names in two directories, links to nothing, to a directory, as long as they get.
  mkdirSync(at('links'))
  mkdirSync(at('links/other'))
  writeFileSync(at('links/one'), 'several names')
  linkSync(at('links/one'), at('links/two'))
  linkSync(at('links/one'), at('links/other/three'))
  for (const [name, target] of [
    ['nothing', 'not/there'],
    ['directory', '../sizes'],
    ['long', 'x'.repeat(4000)],
    ['absolute', '/etc/passwd'],
  ] as const)
    symlinkSync(target, at(`links/${name}`))
  linkSync(at('links/nothing'), at('links/second name of a link'))

  mkdirSync(at('special'))
  must(sys.mknodat(AT_FDCWD, at('special/fifo'), S_IFIFO | 0o640, 0), 'fifo')
  must(sys.mknodat(AT_FDCWD, at('special/socket'), S_IFSOCK | 0o600, 0), 'socket')

  // Extended attributes: many, large, binary; ACLs of both kinds.
  mkdirSync(at('attributes'))
  writeFileSync(at('attributes/file'), 'with attributes')
  for (let i = 0; i < 20; i++) attribute('attributes/file', `user.number${i}`, `value ${i}\0binary`)
  attribute('attributes/file', 'user.large', 'L'.repeat(1500))
  attribute('attributes/file', 'user.empty', '')
  attribute('attributes', 'user.of.a.directory', 'yes')
  writeFileSync(at('attributes/acl'), 'with an ACL')
  mkdirSync(at('attributes/default acl'))
  execFileSync('setfacl', ['-m', 'u:1234:rw,g:2345:r,m::rw', at('attributes/acl')])
  execFileSync('setfacl', ['-m', 'u:1234:rwx,d:u:1234:rx,d:g::rwx,d:o::-', at('attributes/default acl')])

  if (options.asRoot) {
    must(sys.mknodat(AT_FDCWD, at('special/character'), S_IFCHR | 0o666, (1 << 8) | 3), 'character device')
    must(
      sys.mknodat(AT_FDCWD, at('special/block'), S_IFBLK | 0o660, (259 << 8) | (0x12345 & 0xff) | ((0x12345 & ~0xff) << 12)),
      'block device',
    )
    attribute('attributes/file', 'trusted.secret', 'root only')
    attribute('links/nothing', 'trusted.of.a.link', 'root only')
    // struct vfs_cap_data, revision 2: CAP_NET_BIND_SERVICE permitted and effective.
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex')
    must(sys.lsetxattr(at('sizes/4096'), 'security.capability', capability, 0), 'security.capability')
    for (const [name, uid, gid] of [
      ['sizes/1', 1001, 1002],
      ['links/one', 0, 65_534],
      ['names', 4_000_000_000, 5],
      ['links/absolute', 7, 8],
    ] as const)
      must(sys.fchownat(AT_FDCWD, at(name), uid, gid), 'chown')
    // chown cleared them.
    chmodSync(at('links/one'), 0o6755)
  }

  // Times: before 1970, the last of 32 bits and after it, with nanoseconds; of links and directories too.
  mkdirSync(at('times'))
  for (const seconds of [-1_000_000_000, -1, 0, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 5]) {
    writeFileSync(at(`times/${seconds}`), 'time')
    must(
      sys.utimensat(AT_FDCWD, at(`times/${seconds}`), [
        { sec: 1, nsec: 1 },
        { sec: seconds, nsec: 123_456_789 },
      ]),
      'utimens',
    )
  }
  // All others, directories after what is in them, each in a second of its own: rsync compares seconds.
  let seconds = 1_400_000_000
  const setTimes = (path: string): void => {
    for (const entry of readdirSync(Buffer.from(path, 'latin1'), { withFileTypes: true, encoding: 'latin1' })) {
      const child = `${path}/${entry.name}`
      if (entry.isDirectory()) setTimes(child)
      else if (!path.endsWith('/times'))
        must(
          sys.utimensat(AT_FDCWD, child, [
            { sec: 1, nsec: 1 },
            { sec: seconds++, nsec: 987_654_321 },
          ]),
          'utimens',
        )
    }
    must(
      sys.utimensat(AT_FDCWD, path, [
        { sec: 1, nsec: 1 },
        { sec: seconds++, nsec: 1 },
      ]),
      'utimens',
    )
  }
  setTimes(Buffer.from(root).toString('latin1'))
}
