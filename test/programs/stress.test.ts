/** Real programs: stress-ng's filesystem stressors, checking what they read, many of them at once; and dbench. */
import { existsSync, readdirSync } from 'node:fs'
import { BOTH, program } from './suite.ts'

/**
 * Groups that run together, so that each also meets the others. Left out: what goes to other mounts (getdent, io, tmpfs,
 * bind-mount), needs the whole machine (hdd with its large files, readahead), or isn't about files (eventfd, inotify on /proc).
 */
const GROUPS: readonly { readonly title: string; readonly stressors: readonly string[]; readonly options?: readonly string[] }[] = [
  {
    title: 'names',
    stressors: [
      'dir',
      'dirdeep',
      'dirmany',
      'dentry',
      'filename',
      'link',
      'symlink',
      'rename',
      'mknod',
      'touch',
      'open',
      'handle',
      'chdir',
    ],
    options: ['--dentries', '512', '--dirdeep-inodes', '400'],
  },
  {
    title: 'attributes',
    stressors: ['access', 'chmod', 'chown', 'chattr', 'fstat', 'inode-flags', 'utime', 'xattr', 'fcntl', 'file-ioctl', 'fiemap', 'dup'],
    options: ['--fiemap-bytes', '8M'],
  },
  {
    title: 'data',
    stressors: ['copy-file', 'fallocate', 'fpunch', 'fsize', 'iomix', 'seek', 'sync-file', 'sendfile', 'splice', 'aio', 'revio', 'verity'],
    options: [
      '--fallocate-bytes',
      '4M',
      '--iomix-bytes',
      '8M',
      '--seek-size',
      '4M',
      '--sync-file-bytes',
      '4M',
      '--aio-requests',
      '16',
      '--revio-bytes',
      '4M',
      '--sendfile-size',
      '1M',
    ],
  },
  { title: 'locks', stressors: ['flock', 'locka', 'lockf', 'lockofd', 'lease', 'mmap'], options: ['--mmap-file', '--mmap-bytes', '8M'] },
]
const SECONDS = 4

for (const { title, stressors, options = [] } of GROUPS)
  program(`stress-ng: ${title}`, { needs: ['stress-ng'], in: BOTH }, async ({ t, mount, mounted, host, run }) => {
    const args = [
      '--verify',
      '--timeout',
      `${SECONDS}s`,
      '--temp-path',
      mounted,
      ...stressors.flatMap(name => [`--${name}`, '1']),
      ...options,
    ]
    await t.notThrowsAsync(run('stress-ng', args, { timeoutMs: 90_000 }))
    t.deepEqual(readdirSync(host), [], 'all temporary files are gone')
    const { openFiles, openDirectories, waiting } = await mount.statistics()
    t.deepEqual({ openFiles, openDirectories, waiting }, { openFiles: 0, openDirectories: 0, waiting: 0 })
  })

const CLIENT = '/usr/share/dbench/client.txt'

program(
  'dbench: four clients',
  { needs: ['dbench'], in: BOTH, unless: () => (existsSync(CLIENT) ? undefined : `needs ${CLIENT}`) },
  async ({ t, mounted, run }) => {
    const output = await run('dbench', ['-c', CLIENT, '-D', mounted, '-t', '4', '--skip-cleanup', '4'])
    t.regex(output, /Throughput \d/)
  },
)
