/** POSIX: who may do what, with several users; set-user-id, set-group-id, sticky; chmod and chown. */
import { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/sys/flags.ts'
import { S_IFIFO } from '../../src/vfs/contract.ts'
import { ANNA, BERT, type Body, CARL, COMMON_GROUP, semantic as declare, tick } from './suite.ts'

const R = 4
const W = 2
const X = 1

/** Several users: the directory is open to everybody. */
const semantic = (title: string, body: Body) =>
  declare(
    title,
    (w, t, mount) => {
      w.chmod('.', 0o777)
      return body(w, t, mount)
    },
    { needsRoot: true },
  )

declare('chmod sets all twelve bits, on files and directories, and changes ctime alone', (w, t) => {
  w.write('f')
  w.mkdir('d')
  for (const name of ['f', 'd'])
    for (const mode of [0o000, 0o111, 0o222, 0o444, 0o777, 0o4755, 0o2755, 0o1777, 0o7777]) {
      t.is(w.chmod(name, mode), 0)
      t.is(w.attributes(name).mode, mode)
    }
  w.chmod('d', 0o755)
  const before = w.attributes('f')
  tick()
  w.chmod('f', 0o600)
  const after = w.attributes('f')
  t.true(after.ctime > before.ctime)
  t.is(after.mtime, before.mtime)
})

declare('chmod follows a symlink', (w, t) => {
  w.write('f')
  w.symlink('f', 's')
  t.is(w.chmod('s', 0o600), 0)
  t.is(w.attributes('f').mode, 0o600)
  t.is(w.attributes('s').mode, 0o777)
})

declare('chmod of a fifo', (w, t) => {
  w.mknod('p', S_IFIFO | 0o644)
  t.is(w.chmod('p', 0o600), 0)
  t.is(w.attributes('p').mode, 0o600)
})

declare('files and directories belong to who made them', (w, t, mount) => {
  w.write('f')
  w.mkdir('d')
  w.symlink('f', 's')
  for (const name of ['f', 'd', 's']) t.like(w.attributes(name), { uid: mount.owner.uid, gid: mount.owner.gid })
})

semantic('each user makes files of his own', (w, t) => {
  for (const user of [ANNA, BERT])
    w.as(user, () => {
      w.write(`f${user.uid}`)
      w.mkdir(`d${user.uid}`)
      w.symlink('x', `s${user.uid}`)
      w.mknod(`p${user.uid}`, S_IFIFO | 0o644)
      for (const kind of ['f', 'd', 's', 'p']) t.like(w.attributes(kind + user.uid), { uid: user.uid, gid: user.gid }, kind)
    })
})

semantic('permission bits: owner, group, supplementary group, others', (w, t) => {
  w.as(ANNA, () => w.write('f', 'secret'))
  w.chown('f', ANNA.uid, COMMON_GROUP)
  w.chmod('f', 0o640)
  w.as(ANNA, () => t.is(w.read('f'), 'secret'))
  // Bert is in the group by his supplementary groups.
  w.as(BERT, () => {
    t.is(w.read('f'), 'secret')
    t.is(w.open('f', O_WRONLY), 'EACCES')
  })
  w.as(CARL, () => {
    t.is(w.open('f'), 'EACCES')
    t.is(w.truncate('f', 0), 'EACCES')
  })
  // The owner's bits count for the owner, also when they are fewer.
  w.chmod('f', 0o066)
  w.as(ANNA, () => t.is(w.open('f', O_RDONLY), 'EACCES'))
  w.as(BERT, () => t.is(w.read('f'), 'secret'))
  w.as(CARL, () => t.is(w.read('f'), 'secret'))
  w.chmod('f', 0o606)
  w.as(BERT, () => t.is(w.open('f', O_RDONLY), 'EACCES'))
})

semantic('what a write through a supplementary group makes', (w, t) => {
  w.mkdir('d')
  w.chown('d', 0, COMMON_GROUP)
  w.chmod('d', 0o770)
  w.as(BERT, () => {
    t.is(w.mkdir('d/sub'), 0)
    w.write('d/f', 'x')
    t.is(w.symlink('x', 'd/s'), 0)
    t.is(w.rename('d/f', 'd/g'), 0)
    t.is(w.unlink('d/s'), 0)
    t.like(w.attributes('d/g'), { uid: BERT.uid, gid: BERT.gid })
  })
  w.as(CARL, () => {
    t.is(w.mkdir('d/other'), 'EACCES')
    t.is(w.lstat('d/g'), 'EACCES')
  })
})

semantic('directories: read lists, execute passes, write changes', (w, t) => {
  w.as(ANNA, () => {
    w.mkdir('d')
    w.write('d/f', 'x')
  })
  w.chmod('d', 0o744)
  w.as(CARL, () => {
    t.deepEqual(w.list('d'), ['f'])
    t.is(w.lstat('d/f'), 'EACCES')
    t.is(w.open('d/f'), 'EACCES')
  })
  w.chmod('d', 0o711)
  w.as(CARL, () => {
    t.is(w.list('d'), 'EACCES')
    t.is(w.read('d/f'), 'x')
    t.is(w.unlink('d/f'), 'EACCES')
    t.is(w.mkdir('d/e'), 'EACCES')
    t.is(w.rename('d/f', 'd/g'), 'EACCES')
    t.is(w.rename('d/f', 'f'), 'EACCES')
    // EPERM where fs.protected_hardlinks says so first.
    t.true(['EACCES', 'EPERM'].includes(w.link('d/f', 'd/g') as string))
    t.is(w.symlink('x', 'd/g'), 'EACCES')
    t.is(w.mknod('d/g', S_IFIFO | 0o644), 'EACCES')
    t.is(w.open('d/g', O_WRONLY | O_CREAT), 'EACCES')
  })
  w.chmod('d', 0o733)
  w.as(CARL, () => {
    w.write('d/mine')
    t.is(w.unlink('d/f'), 0)
    t.is(w.list('d'), 'EACCES')
  })
})

semantic('root passes all permission bits but execute', (w, t) => {
  w.as(ANNA, () => {
    w.mkdir('d', 0o000)
    w.write('f', 'x', 0o000)
  })
  t.is(w.read('f'), 'x')
  t.deepEqual(w.list('d'), [])
  t.is(w.mkdir('d/e'), 0)
  t.is(w.access('f', R | W), 0)
  t.is(w.access('f', X), 'EACCES')
  w.chmod('f', 0o100)
  t.is(w.access('f', X), 0)
})

semantic('access() tells each user what open would', (w, t) => {
  w.as(ANNA, () => w.write('f', 'x', 0o640))
  w.chown('f', ANNA.uid, COMMON_GROUP)
  for (const [user, expected] of [
    [ANNA, [0, 0, 'EACCES', 0]],
    [BERT, [0, 'EACCES', 'EACCES', 'EACCES']],
    [CARL, ['EACCES', 'EACCES', 'EACCES', 'EACCES']],
  ] as const)
    w.as(user, () =>
      t.deepEqual(
        [R, W, X, R | W].map(mask => w.access('f', mask)),
        [...expected],
        `uid ${user.uid}`,
      ),
    )
  t.is(w.access('f', 0), 0)
  w.as(CARL, () => t.is(w.access('f', 0), 0))
})

semantic('chmod, chown and utimens by who is not the owner', (w, t) => {
  w.as(ANNA, () => w.write('f', 'x'))
  w.chmod('f', 0o666)
  w.as(BERT, () => {
    t.is(w.chmod('f', 0o777), 'EPERM')
    t.is(w.chown('f', BERT.uid, -1), 'EPERM')
    t.is(w.chown('f', -1, COMMON_GROUP), 'EPERM')
    // Times: "now" needs write permission, a chosen time the ownership.
    t.is(w.utimens('f', 'now', 'now'), 0)
    t.is(w.utimens('f', 1n, 1n), 'EPERM')
    t.is(w.utimens('f', 'now', undefined), 'EPERM')
  })
  w.chmod('f', 0o644)
  w.as(BERT, () => t.is(w.utimens('f', 'now', 'now'), 'EACCES'))
})

semantic('chown: the owner may give the file to his groups, nothing else', (w, t) => {
  w.as(ANNA, () => {
    w.write('f')
    t.is(w.chown('f', -1, COMMON_GROUP), 0)
    t.is(w.attributes('f').gid, COMMON_GROUP)
    t.is(w.chown('f', -1, CARL.gid), 'EPERM')
    t.is(w.chown('f', BERT.uid, -1), 'EPERM')
    t.is(w.chown('f', ANNA.uid, ANNA.gid), 0)
    t.is(w.chown('f', -1, -1), 0)
  })
  const before = w.attributes('f')
  tick()
  t.is(w.chown('f', BERT.uid, BERT.gid), 0)
  t.like(w.attributes('f'), { uid: BERT.uid, gid: BERT.gid })
  t.true(w.attributes('f').ctime > before.ctime)
  w.symlink('f', 's')
  t.is(w.lchown('s', CARL.uid, CARL.gid), 0)
  t.is(w.attributes('s').uid, CARL.uid)
  t.is(w.attributes('f').uid, BERT.uid)
})

semantic('chown by the owner clears set-user-id and set-group-id', (w, t) => {
  w.as(ANNA, () => {
    w.write('f')
    w.mkdir('d')
    for (const [mode, expected] of [
      [0o6755, 0o755],
      [0o6711, 0o711],
      // Without group execute, set-group-id is not that.
      [0o2745, 0o2745],
      [0o4644, 0o644],
    ] as const) {
      w.chmod('f', mode)
      t.is(w.chown('f', -1, COMMON_GROUP), 0)
      t.is(w.attributes('f').mode, expected, mode.toString(8))
    }
    w.chmod('d', 0o2755)
    t.is(w.chown('d', -1, COMMON_GROUP), 0)
    t.is(w.attributes('d').mode, 0o2755)
  })
})

semantic('chown by root clears set-user-id and set-group-id of files too', (w, t) => {
  w.write('f')
  w.mkdir('d')
  w.chmod('f', 0o6755)
  w.chmod('d', 0o6755)
  t.is(w.chown('f', ANNA.uid, ANNA.gid), 0)
  t.is(w.attributes('f').mode, 0o755)
  t.is(w.chown('d', ANNA.uid, ANNA.gid), 0)
  t.is(w.attributes('d').mode, 0o6755)
})

semantic('a write clears set-user-id and set-group-id', (w, t) => {
  w.as(ANNA, () => w.write('f', 'x', 0o777))
  for (const user of [ANNA, BERT])
    for (const [mode, expected] of [
      [0o6777, 0o777],
      [0o4777, 0o777],
      [0o2777, 0o777],
    ] as const) {
      w.chmod('f', mode)
      w.as(user, () => {
        const fd = w.fd('f', O_RDWR)
        t.is(w.pwrite(fd, 'y', 0), 1)
        t.is(w.fattributes(fd).mode, expected, mode.toString(8))
        w.close(fd)
        t.is(w.attributes('f').mode, expected)
      })
    }
})

declare(
  'a write by root leaves set-user-id and set-group-id, except with passthrough',
  (w, t, mount) => {
    w.write('f')
    w.chmod('f', 0o6777)
    const fd = w.fd('f', O_RDWR)
    w.pwrite(fd, 'z', 0)
    w.close(fd)
    // There the kernel writes in the name of whoever mounted, for all users the same: then the safe way is to clear.
    t.is(w.attributes('f').mode, mount.passthrough ? 0o777 : 0o6777)
  },
  { needsRoot: true, mountOnly: true },
)

semantic('truncate and O_TRUNC clear set-user-id and set-group-id too', (w, t) => {
  w.as(ANNA, () => w.write('f', 'content', 0o777))
  const ways: Record<string, () => void> = {
    truncate: () => void w.truncate('f', 3),
    ftruncate: () => {
      const fd = w.fd('f', O_RDWR)
      w.ftruncate(fd, 2)
      w.close(fd)
    },
    O_TRUNC: () => void w.close(w.fd('f', O_WRONLY | O_TRUNC)),
    fallocate: () => {
      const fd = w.fd('f', O_RDWR)
      w.fallocate(fd, 0, 0, 4096)
      w.close(fd)
    },
    copy_file_range: () => {
      w.write(`source${w.attributes('f').ctime}`.slice(0, 6), 'abc')
      const [from, to] = [w.fd('source', O_RDONLY), w.fd('f', O_RDWR)]
      w.copyRange(from, 0, to, 0, 3)
      w.close(from)
      w.close(to)
    },
  }
  for (const [name, way] of Object.entries(ways)) {
    w.chmod('f', 0o6777)
    w.as(BERT, way)
    t.is(w.attributes('f').mode, 0o777, name)
  }
})

semantic('chmod by an owner outside the group drops set-group-id', (w, t) => {
  w.as(ANNA, () => w.write('f'))
  w.chown('f', ANNA.uid, CARL.gid)
  w.as(ANNA, () => {
    t.is(w.chmod('f', 0o2755), 0)
    t.is(w.attributes('f').mode, 0o755)
  })
  w.chown('f', ANNA.uid, COMMON_GROUP)
  w.as(ANNA, () => {
    t.is(w.chmod('f', 0o2755), 0)
    t.is(w.attributes('f').mode, 0o2755)
  })
})

semantic('a sticky directory: each removes and renames what is his', (w, t) => {
  w.mkdir('d')
  w.chmod('d', 0o1777)
  w.as(ANNA, () => {
    w.write('d/anna')
    w.mkdir('d/annas')
    w.chmod('d/anna', 0o777)
  })
  w.as(BERT, () => {
    w.write('d/bert')
    t.is(w.unlink('d/anna'), 'EPERM')
    t.is(w.rmdir('d/annas'), 'EPERM')
    t.is(w.rename('d/anna', 'd/x'), 'EPERM')
    t.is(w.rename('d/bert', 'd/anna'), 'EPERM')
    t.is(w.rename('d/bert', 'd/anna', 2), 'EPERM')
    t.is(w.rename('d/bert', 'd/bert2'), 0)
    t.is(w.unlink('d/bert2'), 0)
  })
  w.as(ANNA, () => t.is(w.rename('d/anna', 'd/anna2'), 0))
  // The owner of the directory may.
  w.chown('d', BERT.uid, -1)
  w.as(BERT, () => {
    t.is(w.unlink('d/anna2'), 0)
    t.is(w.rmdir('d/annas'), 0)
  })
})

semantic('set-group-id on a directory: what is made there gets its group', (w, t) => {
  w.mkdir('d')
  w.chown('d', ANNA.uid, COMMON_GROUP)
  w.chmod('d', 0o2777)
  for (const user of [ANNA, CARL])
    w.as(user, () => {
      const n = user.uid
      w.write(`d/f${n}`)
      w.mkdir(`d/d${n}`)
      w.symlink('x', `d/s${n}`)
      w.mknod(`d/p${n}`, S_IFIFO | 0o644)
      for (const kind of ['f', 'd', 's', 'p']) t.like(w.attributes(`d/${kind}${n}`), { uid: n, gid: COMMON_GROUP }, `${kind} of ${n}`)
      // Directories hand it on.
      t.is(w.attributes(`d/d${n}`).mode, 0o2755)
      w.mkdir(`d/d${n}/e`)
      t.like(w.attributes(`d/d${n}/e`), { gid: COMMON_GROUP, mode: 0o2755 })
      // A file keeps set-group-id with execute only if its maker is in the group.
      w.close(w.fd(`d/g${n}`, O_WRONLY | O_CREAT, 0o2755))
      t.is(w.attributes(`d/g${n}`).mode, user === ANNA ? 0o2755 : 0o755)
    })
})

semantic('execute permission is checked when a program is run', (w, t) => {
  w.write('script', '#!/bin/sh\necho ran\n', 0o744)
  w.note(w.program('./script').stdout)
  t.is(w.program('./script').stdout, 'ran\n')
  w.as(ANNA, () => t.is((w.program('./script').error as NodeJS.ErrnoException).code, 'EACCES'))
  w.chmod('script', 0o711)
  // A script must be readable to its interpreter.
  w.as(ANNA, () => t.not(w.program('./script').status, 0))
  w.chmod('script', 0o755)
  w.as(ANNA, () => t.is(w.program('./script').stdout, 'ran\n'))
})

semantic('a descriptor outlives the permission it was opened with', (w, t) => {
  w.as(ANNA, () => w.write('f', 'x'))
  w.chmod('f', 0o666)
  w.as(BERT, () => {
    const fd = w.fd('f', O_RDWR)
    w.as(ANNA, () => w.chmod('f', 0o600))
    t.is(w.open('f'), 'EACCES')
    t.is(w.pwrite(fd, 'y', 0), 1)
    t.is(w.content(fd), 'y')
    t.is(w.ftruncate(fd, 0), 0)
    w.close(fd)
  })
})

semantic('a file of somebody else can not be linked by who may not write it', (w, t) => {
  w.as(ANNA, () => w.write('f', '', 0o600))
  // fs.protected_hardlinks decides; both worlds must agree.
  w.as(BERT, () => w.link('f', 'g'))
  t.pass()
})
