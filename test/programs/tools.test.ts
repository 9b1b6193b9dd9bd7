/** Real programs: editors, find, dd, sed, tar, python: the same script in the mount and beside it must leave the same. */
import { chownSync, mkdirSync } from 'node:fs'
import { treeDifferences } from './compare-trees.ts'
import { BOTH, type Place, program } from './suite.ts'

/** Runs a script in the mount and in a plain directory: both say the same and leave the same files. */
async function same({ t, mounted, host, plain, mount, run }: Place, interpreter: readonly string[], script: string): Promise<void> {
  const beside = `${plain}/beside`
  mkdirSync(beside)
  if (process.getuid?.() === 0) chownSync(beside, mount.owner.uid, mount.owner.gid)
  const [program, ...args] = interpreter
  const said = await run(program!, args, { input: script, cwd: mounted })
  t.is(said, await run(program!, args, { input: script, cwd: beside }))
  t.deepEqual(treeDifferences(host, beside, { times: false }), [])
}

const SHELL = `
set -e
umask 022
for i in $(seq 1 40); do mkdir -p d$((i % 7))/e$i; echo "file $i" > d$((i % 7))/e$i/f$i; done
find . -type f -name 'f*' | sort
find . -type d -empty
find . -newer d1/e1/f1 -type d -name none
find . -type f -size -1k -printf '%p %s %m\\n' | sort
find d2 -type f -exec chmod 600 {} +
find d3 -depth -delete
ls -laR d2 | grep -c '^-rw-------'
grep -rl 'file 1' . | sort
sed -i 's/file/line/' d1/e1/f1; cat d1/e1/f1
dd if=/dev/zero of=zeros bs=4096 count=64 conv=fsync status=none
dd if=/dev/zero of=zeros bs=4096 count=2 seek=10 oflag=direct conv=notrunc status=none
dd if=/dev/zero of=sparse bs=1 count=1 seek=10000000 status=none
dd if=zeros iflag=direct bs=64k status=none | wc -c
truncate -s 1234567 sparse; stat -c '%s' sparse
fallocate -l 1000000 allocated; fallocate -p -o 100000 -l 500000 allocated; stat -c '%s' allocated
install -m 4755 d1/e1/f1 installed; stat -c '%a' installed
ln d1/e1/f1 hard; ln -s hard soft; readlink -f soft | sed 's|.*/||'
mv -n installed d4/; mv d5 renamed; mv -T renamed d5
split -b 10000 zeros part.; cat part.* | cmp - zeros
( flock -x 9; echo locked ) 9> lock
mkfifo fifo; (echo through the fifo > fifo &); cat fifo
touch -d '2001-02-03T04:05:06.789Z' dated; stat -c '%y' dated
touch -r dated other; [ other -nt dated ] || echo same age
cp -r d1 copy; diff -r d1 copy && echo no difference
chmod -R g+w copy; chmod u+s,g+s,+t copy; stat -c '%a' copy
tar cf all.tar d1 d2; tar df all.tar; tar tf all.tar | wc -l; rm all.tar
sort -R zeros -o sorted; wc -c < sorted; sync sorted; sync -f .
exec 5<> gone; echo still > gone; rm gone; cat <&5
for i in $(seq 300); do echo $i >> appended; done; tail -1 appended
: > appended; test ! -s appended && echo emptied
cat < /dev/null > 'name with
a line break'; ls | wc -l
`

program('a long shell script', { needs: ['bash', 'find', 'sed', 'dd', 'flock', 'tar', 'split', 'fallocate'], in: BOTH }, place =>
  same(place, ['bash', '-s'], SHELL),
)

const PYTHON = `
import os, mmap, shutil, tempfile, fcntl, struct, sqlite3, zipfile, pathlib, ctypes

# Safe save: a temporary file, fsync, rename over, fsync of the directory.
for n in range(20):
    fd, name = tempfile.mkstemp(dir='.')
    os.write(fd, b'version %d' % n); os.fchmod(fd, 0o640); os.fsync(fd); os.close(fd)
    os.replace(name, 'saved')
    directory = os.open('.', os.O_RDONLY); os.fsync(directory); os.close(directory)
print(open('saved').read(), oct(os.stat('saved').st_mode))

# Two maps of one file, and the file itself, see each other's bytes.
with open('mapped', 'wb+') as f:
    f.truncate(3 * 4096 + 100)
    one, two = mmap.mmap(f.fileno(), 0), mmap.mmap(f.fileno(), 0)
    one[4090:4100] = b'0123456789'
    print(two[4090:4100], os.pread(f.fileno(), 10, 4090))
    os.pwrite(f.fileno(), b'abc', 8192); print(one[8190:8196])
    one.flush(); one.resize(5 * 4096); print(len(one), os.fstat(f.fileno()).st_size)
    one.close(); two.close()

# Record locks between processes.
f = open('locked', 'w+'); f.write('x' * 100); f.flush()
fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)
child = os.fork()
if child == 0:
    g = open('locked', 'r+')
    try:
        fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5); os._exit(1)
    except OSError:
        fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 20); os._exit(0)
print('locks', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

# A file that was deleted stays readable, writable, and linkable by its descriptor when it never had a name.
fd = os.open('deleted', os.O_RDWR | os.O_CREAT); os.unlink('deleted')
os.write(fd, b'ghost'); print(os.pread(fd, 10, 0), os.fstat(fd).st_nlink); os.close(fd)
fd = os.open('.', os.O_RDWR | os.O_TMPFILE, 0o600); os.write(fd, b'born nameless')
os.link('/proc/self/fd/%d' % fd, 'named', src_dir_fd=os.open('.', os.O_RDONLY), follow_symlinks=True); os.close(fd)
print(open('named').read())

os.makedirs('tree/a/b/c'); pathlib.Path('tree/a/b/c/file').write_text('leaf')
shutil.copytree('tree', 'copied', symlinks=True); shutil.make_archive('packed', 'zip', 'copied')
print(sorted(zipfile.ZipFile('packed.zip').namelist())); os.unlink('packed.zip'); shutil.rmtree('tree')
os.setxattr('saved', 'user.kind', b'text'); print(os.listxattr('saved'), os.getxattr('saved', 'user.kind'))
print(os.copy_file_range(os.open('named', os.O_RDONLY), os.open('range', os.O_WRONLY | os.O_CREAT, 0o644), 100))
print(sorted(e.name for e in os.scandir('.') if e.is_file(follow_symlinks=False)))
print(os.posix_fallocate(os.open('allocated', os.O_WRONLY | os.O_CREAT, 0o644), 0, 100000), os.stat('allocated').st_size)
fd = os.open('holes', os.O_RDWR | os.O_CREAT, 0o644); os.ftruncate(fd, 1 << 20); os.pwrite(fd, b'data', 1 << 19)
print(os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 1 << 19, os.SEEK_HOLE))
db = sqlite3.connect('python.db'); db.execute('PRAGMA journal_mode=truncate'); db.execute('CREATE TABLE t(a)')
db.executemany('INSERT INTO t VALUES (?)', [(i,) for i in range(1000)]); db.commit()
print(db.execute('PRAGMA integrity_check').fetchall(), db.execute('SELECT sum(a) FROM t').fetchall()); db.close()
`

program('a long Python script', { needs: ['python3'], in: BOTH }, place => same(place, ['python3', '-'], PYTHON))

const EDITORS = `
set -e
umask 022
echo first > text; echo shared > linked; ln linked other; ln -s text symbolic; mkdir -p inner; chmod 640 text
vim -es -u NONE -i NONE -n -c 'set backupcopy=no' -c 'normal oby renaming' -c wq text
vim -es -u NONE -i NONE -n -c 'set backupcopy=yes' -c 'normal oby writing in place' -c wq linked
vim -es -u NONE -i NONE -c 'set backup backupdir=.' -c 'normal owith a backup and a swap file' -c wq text
vim -es -u NONE -i NONE -n -c 'normal othrough a link' -c wq symbolic
vim -es -u NONE -i NONE -n -c 'normal oagain' -c 'set undofile undodir=inner' -c wq text
rm -f inner/*
cat text other; stat -c '%a %h' text linked; test -L symbolic && echo still a link
`

program('vim saves in its ways', { needs: ['vim', 'sh'], in: BOTH }, place => same(place, ['sh', '-s'], EDITORS))

const ED = `
set -e
seq 1 50 > numbers
printf '25\\ns/25/twenty-five/\\n1,10d\\n$a\\nthe end\\n.\\nw\\nq\\n' | ed -s numbers
cat numbers; ls
perl -pi.bak -e 's/^3/three/' numbers; cat numbers; ls
`

program('ed and perl -i', { needs: ['ed', 'perl', 'sh'], in: BOTH }, place => same(place, ['sh', '-s'], ED))

program('a tree of 2,000 files is walked, packed, compared and deleted', { needs: ['tar', 'find', 'du', 'sh'], in: BOTH }, async place => {
  const { t, run, mounted } = place
  await run('sh', [
    '-c',
    'mkdir wide; cd wide; seq -f "name %05g" 1 1800 | xargs -d "\\n" touch; mkdir -p $(seq -f %g/a/b 1 200); for d in $(seq 1 200); do echo $d > $d/a/b/c; done',
  ])
  t.is((await run('find', ['wide', '-type', 'f'])).trim().split('\n').length, 2000)
  t.is((await run('sh', ['-c', 'ls -f wide | sort -u | wc -l'])).trim(), '2002')
  await run('sh', ['-c', 'tar cf wide.tar wide && tar df wide.tar && mkdir again && tar xf wide.tar -C again && diff -r wide again/wide'])
  await run('sh', ['-c', 'rm -r wide & rm -r again & wait; rm -f wide.tar'])
  t.is(await run('ls', ['-A', mounted]), '')
})
