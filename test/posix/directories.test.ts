/** POSIX: listing directories, small and huge, while they change. */
import { O_DIRECTORY, O_RDONLY } from '../../src/sys/flags.ts'
import { S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from '../../src/vfs/contract.ts'
import { semantic } from './suite.ts'
import type { World } from './world.ts'

const open = (w: World, path = '.') => w.quietly(() => w.fd(path, O_RDONLY | O_DIRECTORY))
const namesOf = (entries: readonly { readonly name: string }[]) => entries.map(entry => entry.name)

function fill(w: World, count: number, prefix = 'f'): string[] {
  const names = Array.from({ length: count }, (_, i) => `${prefix}${i}`)
  w.quietly(() => {
    for (const name of names) if (w.mknod(name, S_IFREG | 0o644) !== 0) throw new Error(`mknod ${name}`)
  })
  return names
}

semantic('a listing has ".", ".." and each name once, with its type and inode number', (w, t) => {
  w.write('f')
  w.mkdir('d')
  w.symlink('f', 's')
  w.mknod('p', S_IFIFO | 0o644)
  const fd = open(w)
  const entries = w.entries(fd)
  t.deepEqual(namesOf(entries).sort(), ['.', '..', 'd', 'f', 'p', 's'])
  for (const [name, type] of [
    ['f', S_IFREG],
    ['d', S_IFDIR],
    ['s', S_IFLNK],
    ['p', S_IFIFO],
    ['.', S_IFDIR],
    ['..', S_IFDIR],
  ] as const) {
    const entry = entries.find(found => found.name === name)!
    t.is(entry.type, type, name)
    if (name !== '..') t.is(entry.ino, w.attributes(name).ino, name)
  }
  w.close(fd)
})

semantic('".." of a listing names the parent', (w, t) => {
  w.mkdir('d')
  w.mkdir('d/e')
  w.mkdir('other')
  const number = (path: string) => {
    const fd = open(w, path)
    const parent = w.entries(fd).find(entry => entry.name === '..')!.ino
    w.quietly(() => w.close(fd))
    return parent
  }
  t.is(number('d/e'), w.attributes('d').ino)
  w.rename('d/e', 'other/e')
  t.is(number('other/e'), w.attributes('other').ino)
})

semantic('an empty directory, a listing that is read to the end and asked again', (w, t) => {
  w.mkdir('d')
  const fd = open(w, 'd')
  t.deepEqual(namesOf(w.entries(fd)).sort(), ['.', '..'])
  t.deepEqual(w.entries(fd), [])
  t.deepEqual(w.entries(fd), [])
  w.close(fd)
})

semantic('rewinddir shows what was made since', (w, t) => {
  w.mkdir('d')
  w.write('d/a')
  const fd = open(w, 'd')
  t.deepEqual(namesOf(w.entries(fd)).sort(), ['.', '..', 'a'])
  w.write('d/b')
  w.seekDirectory(fd, 0n)
  t.deepEqual(namesOf(w.entries(fd)).sort(), ['.', '..', 'a', 'b'])
  w.unlink('d/a')
  w.seekDirectory(fd, 0n)
  t.deepEqual(namesOf(w.entries(fd)).sort(), ['.', '..', 'b'])
  w.close(fd)
})

semantic('telldir and seekdir: a listing goes on from any entry', (w, t) => {
  fill(w, 500)
  const fd = open(w)
  const all = w.entries(fd)
  t.is(all.length, 502)
  for (const i of [0, 1, 7, 100, 250, 499, 500]) {
    w.seekDirectory(fd, all[i]!.next)
    t.deepEqual(namesOf(w.entries(fd)), namesOf(all.slice(i + 1)), `after entry ${i}`)
  }
  w.seekDirectory(fd, all.at(-1)!.next)
  t.deepEqual(w.entries(fd), [])
  w.close(fd)
})

semantic('two listings of one directory at once', (w, t) => {
  const names = fill(w, 1000).sort()
  const [a, b] = [open(w), open(w)]
  const [fromA, fromB]: [string[], string[]] = [[], []]
  for (let i = 0; i < 100; i++) {
    fromA.push(...namesOf(w.entries(a, 1, 600)))
    fromB.push(...namesOf(w.entries(b, 1, 1700)))
  }
  fromA.push(...namesOf(w.entries(a)))
  fromB.push(...namesOf(w.entries(b)))
  for (const found of [fromA, fromB]) t.deepEqual(found.filter(name => !name.startsWith('.')).sort(), names)
  w.close(a)
  w.close(b)
})

for (const removing of [true, false])
  semantic(`a listing while names ${removing ? 'are removed' : 'are made'}: what is left alone appears once`, (w, t) => {
    const kept = fill(w, 2000, 'kept')
    const goes = removing ? fill(w, 2000, 'goes') : []
    const fd = open(w)
    const seen: string[] = []
    for (let round = 0; ; round++) {
      const some = w.entries(fd, 1, 2048)
      if (some.length === 0) break
      seen.push(...namesOf(some))
      w.quietly(() => {
        for (let i = 0; i < 20; i++) {
          if (removing) {
            const name = goes.pop()
            if (name) w.unlink(name)
          } else if (round < 100) w.mknod(`made${round}-${i}`, S_IFREG | 0o644)
        }
      })
    }
    const found = seen.filter(name => name.startsWith('kept'))
    t.is(found.length, kept.length)
    t.is(new Set(found).size, kept.length)
    t.is(new Set(seen).size, seen.length)
    w.close(fd)
  })

semantic('removing everything while listing, as rm -r does', (w, t) => {
  fill(w, 3000)
  const fd = open(w)
  for (;;) {
    const some = w.entries(fd, 1, 4096)
    if (some.length === 0) break
    w.quietly(() => {
      for (const { name } of some) if (!name.startsWith('.')) t.is(w.unlink(name), 0)
    })
  }
  w.close(fd)
  t.deepEqual(w.list(), [])
})

semantic('names that appear in a listing can be looked up, and the other way round', (w, t) => {
  for (let i = 0; i < 20; i++) {
    w.write(`a${i}`)
    if (i > 0) w.unlink(`a${i - 1}`)
    t.deepEqual(w.list(), [`a${i}`])
    t.is(w.lstat(`a${i - 1}`), 'ENOENT')
  }
})

semantic('long names fill the listing to its edges', (w, t) => {
  const names = Array.from({ length: 600 }, (_, i) => `${i}-`.padEnd(1 + (i % 255), 'x').slice(0, 255))
  const unique = [...new Set(names)]
  w.quietly(() => {
    for (const name of unique) w.mknod(name, S_IFREG | 0o644)
  })
  for (const bufferBytes of [300, 1000, 4096, 32_768]) {
    const fd = open(w)
    const found = namesOf(w.entries(fd, Number.POSITIVE_INFINITY, bufferBytes)).filter(name => name !== '.' && name !== '..')
    t.deepEqual(found.sort(), [...unique].sort(), `${bufferBytes} bytes at a time`)
    w.close(fd)
  }
})

function large(count: number): void {
  semantic(
    `a directory of ${count.toLocaleString('en')} entries`,
    (w, t, mount) => {
      // Made beside the mount: the listing is what is tested.
      const beside = w.root.replace(mount.folder.mounted, mount.folder.path)
      w.quietly(() => {
        for (let i = 0; i < count; i++) if (w.mknod(`${beside}/e${i}`, S_IFREG | 0o644) !== 0) throw new Error(`mknod e${i}`)
      })
      const fd = open(w)
      const seen = new Set<string>()
      let total = 0
      for (;;) {
        const some = w.entries(fd, 1, 1 << 18)
        if (some.length === 0) break
        for (const { name } of some) seen.add(name)
        total += some.length
      }
      t.is(total, count + 2)
      t.is(seen.size, count + 2)
      w.close(fd)
      for (const i of [0, count >> 1, count - 1]) t.is(w.attributes(`e${i}`).type, S_IFREG)
      t.is(w.lstat(`e${count}`), 'ENOENT')
      t.is(w.mkdir('new'), 0)
      t.is(w.unlink('e0'), 0)
      t.is(w.lstat('e0'), 'ENOENT')
    },
    { mountOnly: true },
  )
}

large(100_000)
if (process.env.SDMOUNT_TEST_HUGE) large(1_000_000)
