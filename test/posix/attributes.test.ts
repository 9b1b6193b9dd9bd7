/** POSIX and Linux: extended attributes, access control lists, inode flags. */
import { spawnSync } from 'node:child_process'
import { O_RDONLY, O_RDWR, XATTR_CREATE, XATTR_REPLACE } from '../../src/sys/flags.ts'
import { linux } from '../../src/sys/linux.ts'
import { S_IFIFO } from '../../src/vfs/contract.ts'
import { ANNA, BERT, CARL, COMMON_GROUP, semantic } from './suite.ts'
import type { World } from './world.ts'

const hasAclTools = spawnSync('setfacl', ['--version']).status === 0
const hasFlagTools = spawnSync('lsattr', ['-V']).error === undefined

semantic('xattr: set, get, replace, remove, list, on files and directories', (w, t) => {
  w.write('f')
  w.mkdir('d')
  for (const name of ['f', 'd']) {
    t.deepEqual(w.listxattr(name), [])
    t.is(w.setxattr(name, 'user.a', 'one'), 0)
    t.is(w.setxattr(name, 'user.b', ''), 0)
    t.is(w.setxattr(name, 'user.bytes \xff\n', '\0\x01\xff'), 0)
    t.deepEqual(w.listxattr(name), ['user.a', 'user.b', 'user.bytes \xff\n'])
    t.is(w.getxattr(name, 'user.a'), 'one')
    t.is(w.getxattr(name, 'user.b'), '')
    t.is(w.getxattr(name, 'user.bytes \xff\n'), '\0\x01\xff')
    t.is(w.setxattr(name, 'user.a', 'two'), 0)
    t.is(w.getxattr(name, 'user.a'), 'two')
    t.is(w.removexattr(name, 'user.a'), 0)
    t.is(w.getxattr(name, 'user.a'), 'ENODATA')
    t.is(w.removexattr(name, 'user.a'), 'ENODATA')
  }
})

semantic('xattr: XATTR_CREATE and XATTR_REPLACE', (w, t) => {
  w.write('f')
  t.is(w.setxattr('f', 'user.a', 'x', XATTR_REPLACE), 'ENODATA')
  t.is(w.setxattr('f', 'user.a', 'x', XATTR_CREATE), 0)
  t.is(w.setxattr('f', 'user.a', 'y', XATTR_CREATE), 'EEXIST')
  t.is(w.setxattr('f', 'user.a', 'y', XATTR_REPLACE), 0)
  t.is(w.getxattr('f', 'user.a'), 'y')
  t.is(w.setxattr('f', 'user.a', 'y', 4), 'EINVAL')
})

semantic('xattr: sizes, asked for and too small', (w, t) => {
  w.write('f')
  w.setxattr('f', 'user.a', 'x'.repeat(100))
  t.is(w.getxattr('f', 'user.a', 0), '100 bytes')
  t.is(w.getxattr('f', 'user.a', 99), 'ERANGE')
  t.is(w.getxattr('f', 'user.a', 100), 'x'.repeat(100))
})

semantic('xattr: limits of names and values', (w, t) => {
  w.write('f')
  t.is(w.setxattr('f', `user.${'n'.repeat(250)}`, 'x'), 0)
  t.is(w.setxattr('f', `user.${'n'.repeat(251)}`, 'x'), 'ERANGE')
  t.is(w.setxattr('f', 'user.', 'x'), 'EINVAL')
  // What fits into the filesystem differs; both worlds must say the same.
  w.setxattr('f', 'user.big', 'v'.repeat(3000))
  w.setxattr('f', 'user.bigger', 'v'.repeat(20_000))
  w.setxattr('f', 'user.biggest', 'v'.repeat(65_536))
  t.is(w.setxattr('f', 'user.huge', 'v'.repeat(65_537)), 'E2BIG')
  w.listxattr('f')
  t.is(w.setxattr('f', 'nonsense', 'x'), 'ENOTSUP')
  t.is(w.setxattr('f', 'unknown.name', 'x'), 'ENOTSUP')
  t.is(w.getxattr('f', 'unknown.name'), 'ENOTSUP')
})

semantic('xattr: symlinks and special files take no user attributes', (w, t) => {
  w.write('f')
  w.symlink('f', 's')
  w.mknod('p', S_IFIFO | 0o644)
  for (const name of ['s', 'p']) {
    t.is(w.setxattr(name, 'user.a', 'x'), 'EPERM')
    t.deepEqual(w.listxattr(name), [])
    // ENODATA, not EPERM: reading is allowed, there is nothing.
    w.getxattr(name, 'user.a')
  }
})

semantic(
  'xattr: trusted and security attributes of root, also on symlinks',
  (w, t) => {
    w.write('f')
    w.mkdir('d')
    w.symlink('f', 's')
    for (const name of ['f', 'd', 's']) {
      t.is(w.setxattr(name, 'trusted.a', 'x'), 0, name)
      t.is(w.getxattr(name, 'trusted.a'), 'x')
      t.true(w.listxattr(name).includes('trusted.a'))
    }
    w.chmod('f', 0o666)
    t.is(w.setxattr('f', 'security.test', 'x'), 0)
    w.as(ANNA, () => {
      t.is(w.getxattr('f', 'trusted.a'), 'ENODATA')
      t.is(w.setxattr('f', 'trusted.a', 'y'), 'EPERM')
      t.is(w.setxattr('f', 'security.test', 'y'), 'EPERM')
      t.is(w.getxattr('f', 'security.test'), 'x')
    })
    t.is(w.removexattr('s', 'trusted.a'), 0)
    t.deepEqual(w.listxattr('s'), [])
  },
  { needsRoot: true },
)

semantic(
  'xattr: trusted names are not shown to who is not root',
  (w, t) => {
    w.write('f')
    w.setxattr('f', 'trusted.a', 'x')
    w.setxattr('f', 'user.b', 'x')
    w.as(ANNA, () => t.deepEqual(w.listxattr('f'), ['user.b']))
  },
  { needsRoot: true },
)

semantic(
  'xattr: a write removes file capabilities',
  (w, t) => {
    w.write('f', 'x', 0o777)
    w.chmod('f', 0o777)
    // VFS_CAP_REVISION_2, cap_net_raw permitted.
    const capability = Buffer.alloc(20)
    capability.writeUInt32LE(0x02000000, 0)
    capability.writeUInt32LE(1 << 13, 4)
    t.is(w.setxattr('f', 'security.capability', capability), 0)
    t.is(w.getxattr('f', 'security.capability').length, 20)
    w.as(ANNA, () => {
      const fd = w.fd('f', O_RDWR)
      w.pwrite(fd, 'y', 0)
      w.close(fd)
    })
    t.is(w.getxattr('f', 'security.capability'), 'ENODATA')
  },
  { needsRoot: true },
)

semantic(
  'xattr: permissions, and the sticky directory of somebody else',
  (w, t) => {
    w.chmod('.', 0o777)
    w.as(ANNA, () => {
      w.write('f', '', 0o644)
      w.setxattr('f', 'user.a', 'x')
    })
    w.as(BERT, () => {
      t.is(w.getxattr('f', 'user.a'), 'x')
      t.is(w.setxattr('f', 'user.a', 'y'), 'EACCES')
      t.is(w.removexattr('f', 'user.a'), 'EACCES')
    })
    w.chmod('f', 0o600)
    w.as(BERT, () => t.is(w.getxattr('f', 'user.a'), 'EACCES'))
    w.mkdir('d')
    w.chmod('d', 0o1777)
    w.as(BERT, () => t.is(w.setxattr('d', 'user.a', 'y'), 'EPERM'))
  },
  { needsRoot: true },
)

semantic('xattr of a file that was deleted while open', (w, t) => {
  w.write('f')
  w.setxattr('f', 'user.a', 'kept')
  const fd = w.fd('f', O_RDWR)
  w.unlink('f')
  const sys = linux()
  const value = Buffer.alloc(100)
  t.is(
    w.run(() => sys.fgetxattr(fd, 'user.a', value)),
    4,
  )
  t.is(
    w.run(() => sys.fsetxattr(fd, 'user.b', Buffer.from('new'), 0)),
    0,
  )
  t.is(
    w.run(() => sys.flistxattr(fd, value)),
    14,
  )
  t.is(
    w.run(() => sys.fremovexattr(fd, 'user.a')),
    0,
  )
  w.close(fd)
})

// --- access control lists ---

function setfacl(w: World, ...args: string[]): number {
  const { status, stderr } = w.program('setfacl', ...args)
  if (status !== 0) w.note('setfacl', stderr)
  return status ?? -1
}
function getfacl(w: World, name: string): string {
  const lines = w.program('getfacl', '-n', '--omit-header', '--absolute-names', name).stdout.split('\n').filter(Boolean)
  w.note('getfacl', name, lines.join(' '))
  return lines.join(' ')
}

function acl(title: string, body: Parameters<typeof semantic>[1]): void {
  semantic(
    `ACL: ${title}`,
    (w, t, mount) => {
      if (!hasAclTools) return t.log('skipped: needs setfacl (package acl)')
      w.chmod('.', 0o777)
      return body(w, t, mount)
    },
    { needsRoot: true },
  )
}

acl('an entry for a user gives what the bits do not, within the mask', (w, t) => {
  w.as(ANNA, () => w.write('f', 'x', 0o640))
  w.as(ANNA, () => t.is(setfacl(w, '-m', `u:${CARL.uid}:rw`, 'f'), 0))
  t.is(getfacl(w, 'f'), `user::rw- user:${CARL.uid}:rw- group::r-- mask::rw- other::---`)
  t.is(w.attributes('f').mode, 0o660)
  w.as(CARL, () => {
    t.is(w.read('f'), 'x')
    w.close(w.fd('f', O_RDWR))
    t.is(w.access('f', 6), 0)
    t.is(w.access('f', 1), 'EACCES')
  })
  w.as(BERT, () => t.is(w.open('f'), 'EACCES'))
  // chmod changes the mask.
  w.as(ANNA, () => w.chmod('f', 0o640))
  t.is(getfacl(w, 'f'), `user::rw- user:${CARL.uid}:rw-\t#effective:r-- group::r-- mask::r-- other::---`)
  w.as(CARL, () => t.is(w.open('f', O_RDWR), 'EACCES'))
  w.as(CARL, () => t.is(w.read('f'), 'x'))
})

acl('an entry for a group, through supplementary groups', (w, t) => {
  w.as(ANNA, () => {
    w.write('f', 'x', 0o600)
    setfacl(w, '-m', `g:${COMMON_GROUP}:r`, 'f')
  })
  w.as(BERT, () => t.is(w.read('f'), 'x'))
  w.as(CARL, () => t.is(w.open('f'), 'EACCES'))
})

acl('an entry can take away what everybody else has', (w, t) => {
  w.as(ANNA, () => {
    w.write('f', 'x', 0o644)
    setfacl(w, '-m', `u:${CARL.uid}:-`, 'f')
  })
  w.as(BERT, () => t.is(w.read('f'), 'x'))
  w.as(CARL, () => t.is(w.open('f'), 'EACCES'))
})

acl('a default ACL is inherited by what is made below, whatever the umask', (w, t) => {
  w.mkdir('d')
  w.chmod('d', 0o777)
  t.is(setfacl(w, '-d', '-m', `u::rwx,u:${CARL.uid}:rwx,g::r-x,o::-`, 'd'), 0)
  getfacl(w, 'd')
  w.as(ANNA, () => {
    w.run(() => process.umask(0o077))
    w.write('d/f', 'x', 0o666)
    w.mkdir('d/e', 0o777)
    w.mknod('d/p', S_IFIFO | 0o666)
    w.symlink('f', 'd/s')
    w.run(() => process.umask(0o022))
  })
  // The umask doesn't count; the mode asked for limits the mask.
  t.is(w.attributes('d/f').mode, 0o660)
  t.is(w.attributes('d/e').mode, 0o770)
  getfacl(w, 'd/f')
  getfacl(w, 'd/e')
  getfacl(w, 'd/p')
  w.as(CARL, () => {
    t.is(w.read('d/f'), 'x')
    t.is(w.mkdir('d/e/by-carl'), 0)
  })
  w.as(ANNA, () => w.mkdir('d/e/deep', 0o700))
  getfacl(w, 'd/e/deep')
  w.as(BERT, () => t.is(w.open('d/f'), 'EACCES'))
})

acl('only the owner changes an ACL; removing it restores the bits', (w, t) => {
  w.as(ANNA, () => w.write('f', 'x', 0o640))
  w.as(BERT, () => t.not(setfacl(w, '-m', `u:${BERT.uid}:rw`, 'f'), 0))
  w.as(ANNA, () => {
    t.is(setfacl(w, '-m', `u:${CARL.uid}:r`, 'f'), 0)
    t.is(setfacl(w, '-b', 'f'), 0)
  })
  t.is(getfacl(w, 'f'), 'user::rw- group::r-- other::---')
  w.as(CARL, () => t.is(w.open('f'), 'EACCES'))
})

acl('setting one by an owner outside the group drops set-group-id', (w, t) => {
  w.as(ANNA, () => w.write('f', 'x', 0o755))
  w.chown('f', ANNA.uid, CARL.gid)
  w.chmod('f', 0o2755)
  w.as(ANNA, () => setfacl(w, '-m', `u:${BERT.uid}:rwx`, 'f'))
  w.stat('f')
  t.is(w.attributes('f').mode & 0o2000, 0)
})

acl('copies keep it (cp -a)', (w, t) => {
  w.write('f', 'x', 0o640)
  setfacl(w, '-m', `u:${CARL.uid}:rw`, 'f')
  w.setxattr('f', 'user.a', 'kept')
  t.is(w.program('cp', '-a', 'f', 'g').status, 0)
  t.is(getfacl(w, 'g'), getfacl(w, 'f'))
  t.is(w.getxattr('g', 'user.a'), 'kept')
})

// --- inode flags ---

semantic('chattr and lsattr: flags of the filesystem', (w, t) => {
  if (!hasFlagTools) return t.log('skipped: needs lsattr (package e2fsprogs)')
  w.write('f')
  w.mkdir('d')
  const flags = (...args: string[]) => {
    const { status, stdout } = w.program('lsattr', ...args)
    const shown = `${status} ${stdout.split(' ')[0]}`
    w.note('lsattr', ...args, shown)
    return shown
  }
  flags('f')
  flags('-d', 'd')
  // No atime: any owner may.
  w.note('chattr', w.program('chattr', '+A', 'f').status)
  w.note('chattr', w.program('chattr', '+A', 'd').status)
  flags('f')
  flags('-d', 'd')
  w.note('chattr', w.program('chattr', '-A', 'f').status)
  flags('f')
})

semantic(
  'chattr: append-only and immutable files are that through the mount',
  (w, t) => {
    if (!hasFlagTools) return t.log('skipped: needs chattr (package e2fsprogs)')
    w.write('f', 'x')
    if (w.program('chattr', '+i', 'f').status !== 0) return t.log('skipped: this filesystem has no such flag')
    try {
      t.is(w.open('f', O_RDWR), 'EPERM')
      t.is(w.unlink('f'), 'EPERM')
      t.is(w.rename('f', 'g'), 'EPERM')
      t.is(w.chmod('f', 0o600), 'EPERM')
      t.is(w.link('f', 'g'), 'EPERM')
      t.is(w.read('f'), 'x')
    } finally {
      w.program('chattr', '-i', 'f')
    }
    w.program('chattr', '+a', 'f')
    try {
      t.is(w.open('f', O_RDWR), 'EPERM')
      t.is(w.truncate('f', 0), 'EPERM')
      const fd = w.fd('f', O_RDONLY)
      w.close(fd)
    } finally {
      w.program('chattr', '-a', 'f')
    }
    t.is(w.unlink('f'), 0)
  },
  { needsRoot: true },
)
