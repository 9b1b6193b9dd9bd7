/**
 * The words after -o: those of mount(8), of fstab, and our own.
 *
 * Owns: the table of what each word does. Must stay true: a word that isn't known is refused with a line that names it;
 * what only fstab and mount(8) need is passed over. docs/cli/mount.md is made from the table.
 */
import { CommandError } from './exit-codes.ts'

export interface MountOptions {
  readOnly: boolean
  allowOther: boolean
  /** Words for mount(2). */
  flags: string[]
  library?: string
  /** What `df` and `mount` show as the source. */
  sourceName?: string
  /** The mountpoint may hold files (they are out of sight while it is mounted). */
  nonEmpty: boolean
}

interface Word {
  readonly words: readonly string[]
  readonly help: string
  readonly apply: ((options: MountOptions, value: string, word: string) => void) | 'flag' | 'ignore'
  /** The word comes as word=VALUE. */
  readonly value?: string
}

export const MOUNT_WORDS: readonly Word[] = [
  { words: ['ro'], help: 'as --read-only', apply: options => void (options.readOnly = true) },
  { words: ['rw'], help: 'writable (the default)', apply: options => void (options.readOnly = false) },
  { words: ['allow_other'], help: 'as --allow-other', apply: options => void (options.allowOther = true) },
  { words: ['default_permissions'], help: 'always on: the kernel checks permission bits', apply: 'ignore' },
  { words: ['library'], value: 'DIR', help: 'as --library', apply: (options, value) => void (options.library = value) },
  {
    words: ['fsname'],
    value: 'NAME',
    help: 'what df and mount show as the source',
    apply: (options, value) => void (options.sourceName = value),
  },
  { words: ['nonempty'], help: 'mount over a folder that holds files', apply: options => void (options.nonEmpty = true) },
  { words: ['exec', 'noexec', 'suid', 'nosuid', 'dev', 'nodev'], help: 'as mount(8); nosuid and nodev are the default', apply: 'flag' },
  { words: ['atime', 'noatime', 'nodiratime', 'relatime', 'sync', 'async', 'dirsync'], help: 'as mount(8)', apply: 'flag' },
  {
    words: [
      'defaults',
      'auto',
      'noauto',
      'user',
      'users',
      'nouser',
      'owner',
      'group',
      '_netdev',
      'nofail',
      'strictatime',
      'silent',
      'loud',
    ],
    help: 'for fstab and mount(8); passed over',
    apply: 'ignore',
  },
  { words: ['comment', 'uhelper', 'helper', 'subtype'], value: '...', help: 'for fstab and mount(8); passed over', apply: 'ignore' },
]

const EXPLAINED: Readonly<Record<string, string>> = {
  uid: 'owners are those of the files; to mount as a user from fstab write setuid=USER',
  gid: 'groups are those of the files; to mount as a user from fstab write setuid=USER',
  umask: 'permissions are those of the files',
  setuid: 'this is for fstab and mount(8): there mount.fuse.sdmount runs sdmount as that user',
}

/** Reads the lists of `-o`, in order; later words win. Throws CommandError 'usage'. */
export function parseMountOptions(lists: readonly string[]): MountOptions {
  const options: MountOptions = { readOnly: false, allowOther: false, flags: [], nonEmpty: false }
  for (const list of lists) for (const word of splitWords(list)) applyWord(options, word)
  return options
}

function applyWord(options: MountOptions, word: string): void {
  if (/^x-/i.test(word)) return // x-systemd.automount, X-mount.mkdir, ...: comments to others
  const [name, value] = word.includes('=') ? [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)] : [word, undefined]
  const known = MOUNT_WORDS.find(candidate => candidate.words.includes(name))
  if (!known) {
    const explained = Object.hasOwn(EXPLAINED, name) ? `: ${EXPLAINED[name]}` : '; docs/cli/mount.md lists those that are'
    throw new CommandError('usage', `-o ${name} is not an option of sdmount${explained}`)
  }
  if (known.apply === 'ignore') return // mount(8) writes some with and without a value: user, user=ann
  if ((known.value === undefined) !== (value === undefined)) {
    throw new CommandError(
      'usage',
      known.value === undefined ? `-o ${name} takes no value` : `-o ${name} needs a value: ${name}=${known.value}`,
    )
  }
  if (known.apply === 'flag') options.flags.push(name)
  else known.apply(options, value ?? '', name)
}

/** Splits at commas; `\,` is a comma in a value, `\\` a backslash. */
function splitWords(list: string): string[] {
  const words: string[] = []
  let word = ''
  for (let i = 0; i < list.length; i++) {
    const char = list[i]!
    if (char === '\\' && (list[i + 1] === ',' || list[i + 1] === '\\')) word += list[++i]
    else if (char === ',') {
      words.push(word)
      word = ''
    } else word += char
  }
  words.push(word)
  return words.filter(w => w !== '')
}
