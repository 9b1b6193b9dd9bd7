/**
 * Every option of the command line, declared once: flag, type, default, environment variable, help.
 *
 * Owns: the table. The parser (parser.ts), --help and docs/cli are made from it; commands name the options they take and
 * get resolved, typed values, never `process.argv` or `process.env`.
 */

export interface OptionDeclaration {
  readonly type: 'boolean' | 'string' | 'list'
  /** What --help calls the value. */
  readonly value?: string
  readonly short?: string
  readonly choices?: readonly string[]
  readonly default?: string | boolean
  /** The environment variable that gives the value where the flag is absent. */
  readonly environment?: string
  readonly help: string
}

export const OPTIONS = {
  library: {
    type: 'string',
    value: 'DIR',
    environment: 'SDMOUNT_LIBRARY',
    help: 'the library to work with; by default the one in your XDG data home. Nothing of sdmount is kept outside it',
  },
  'read-only': { type: 'boolean', short: 'r', help: 'nothing can be changed through the mount' },
  'allow-other': {
    type: 'boolean',
    help: 'other users may enter the mount (always so when root mounts); not root: needs user_allow_other in /etc/fuse.conf',
  },
  option: {
    type: 'list',
    short: 'o',
    value: 'OPT[,OPT...]',
    help: 'mount options as in fstab: ro, allow_other, nosuid, noexec, library=DIR, ... (docs/cli/mount.md lists them)',
  },
  foreground: { type: 'boolean', short: 'f', help: 'stay in the foreground, log to standard error, unmount on Ctrl-C' },
  driver: {
    type: 'string',
    value: 'DRIVER',
    choices: ['auto', 'kernel', 'libfuse'],
    default: 'auto',
    help: "how to talk to the system: the kernel's own protocol (Linux) or libfuse (macOS)",
  },
  lazy: { type: 'boolean', short: 'z', help: 'take it out of sight now, end when the last program has closed its files' },
  name: { type: 'string', value: 'NAME', help: "the folder's name at the top of the tree; by default the last part of its path" },
  drive: {
    type: 'string',
    value: 'HOW',
    choices: ['auto', 'direct', 'deferred'],
    help: 'who asks the filesystem of the folder: `direct` the main thread (fastest), `deferred` one of its own, so that a filesystem that hangs stops nothing else; `auto`, where nothing is said, goes by the kind of filesystem',
  },
  endpoint: { type: 'string', value: 'URL', help: "the server, `https://host[:port]`; by default Amazon's" },
  region: { type: 'string', value: 'REGION', help: 'the region of the bucket; by default it is found out' },
  profile: { type: 'string', value: 'PROFILE', help: 'the profile of the AWS configuration that has the keys' },
  ask: { type: 'boolean', help: 'ask for the keys on the terminal, and keep them sealed in the library' },
  'credentials-file': {
    type: 'string',
    value: 'FILE',
    help: 'holds the keys, which are kept sealed in the library: `ID:SECRET` or ID, SECRET and perhaps a session token in a line each; `/dev/fd/N` and `-` (standard input) work too',
  },
  seal: { type: 'boolean', help: 'keep the keys that the AWS configuration gives now sealed in the library, for good' },
  ttl: {
    type: 'string',
    value: 'TIME',
    help: 'how old what is known of a folder may be before the bucket is asked again: `90s`, `10m`, `1h`; 60s where nothing is said',
  },
  'write-mode': {
    type: 'string',
    value: 'MODE',
    choices: ['back', 'through'],
    help: 'whether closing a file returns once it is safe on this disk (`back`, where nothing is said) or once it is in the bucket (`through`)',
  },
  'address-style': {
    type: 'string',
    value: 'STYLE',
    choices: ['auto', 'path', 'host'],
    help: 'where the name of the bucket stands: in the path or in the host name; `auto`: in the path where an endpoint is named',
  },
  assume: {
    type: 'list',
    value: 'WHAT=yes|no',
    help: 'do not believe the trial of the server in this point (docs/cloud.md names them), for example `putIfMatch=no`',
  },
  writable: { type: 'boolean', help: 'the volume may be written to again' },
  discard: { type: 'boolean', help: 'give up what is not in the bucket yet' },
  'no-wait': { type: 'boolean', help: 'do not wait for uploads: they go on with the next mount' },
  'cache-size': {
    type: 'string',
    value: 'SIZE',
    help: 'how much disk the block cache of cloud volumes may take, for example `50G`; 10 % of the free disk and at most 20G where nothing was ever said. Remembered',
  },
  bwlimit: {
    type: 'string',
    value: 'UP:DOWN',
    help: 'bytes a second to and from all cloud volumes together, for example `1M:10M`, `500K:off`, `off`. Remembered',
  },
  transfers: {
    type: 'string',
    value: 'UP:DOWN',
    help: 'transfers at once of each cloud volume, for example `4:16`; 8:16 where nothing was ever said. Remembered',
  },
  memory: {
    type: 'string',
    value: 'SIZE',
    help: 'memory for what is being read from cloud volumes, 96M where nothing was ever said. Remembered; holds from the next mount on',
  },
  wait: { type: 'boolean', help: 'return when the scan has ended, showing its progress' },
  json: { type: 'boolean', help: 'print JSON for programs' },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    choices: ['debug', 'info', 'warning', 'error'],
    default: 'info',
    environment: 'SDMOUNT_LOG_LEVEL',
    help: 'what the log takes: debug, info, warning or error',
  },
  webdav: {
    type: 'boolean',
    help: "as a network drive, by the system's own WebDAV client, where there is no FUSE or it isn't wanted",
  },
  listen: {
    type: 'string',
    value: 'ADDRESS:PORT',
    default: '127.0.0.1:4918',
    help: 'where to listen; port 0 takes any free one. Beyond this machine only with TLS and a password',
  },
  user: { type: 'string', value: 'NAME', help: 'who may log in; the default is sdmount' },
  'password-file': { type: 'string', value: 'FILE', help: 'holds the password in its first line; without it one is made and printed' },
  anonymous: { type: 'boolean', help: 'anybody on this machine may connect, without a password' },
  cert: { type: 'string', value: 'FILE', help: 'certificate for TLS (PEM); without one a certificate is made once where TLS is needed' },
  key: { type: 'string', value: 'FILE', help: "the certificate's key (PEM)" },
  'keep-clutter': { type: 'boolean', help: 'keep what Finder and Explorer strew about (.DS_Store, Thumbs.db, ...) on cloud volumes too' },
  remove: { type: 'boolean', help: 'take it away again' },
  at: { type: 'string', value: 'PATH', help: 'the folder that holds the sealed files; it is made, or empty' },
  label: { type: 'string', value: 'LABEL', help: "the passphrase's name among several; `main` where nothing is said" },
  vault: { type: 'list', value: 'NAME', help: 'open this vault too: its passphrase is asked for' },
  'passphrase-file': {
    type: 'string',
    value: 'FILE',
    help: 'holds the passphrase in a line: the first, the next one for a second; `-` is standard input. Without it, it is asked for on the terminal',
  },
  'passphrase-fd': { type: 'string', value: 'N', help: 'as --passphrase-file, from a file descriptor that is open already' },
  'new-passphrase-file': { type: 'string', value: 'FILE', help: 'holds the new passphrase; it may be the same file: then the next line' },
  'new-passphrase-fd': { type: 'string', value: 'N', help: 'as --new-passphrase-file, from a file descriptor' },
  keyring: { type: 'boolean', help: "the passphrase is in the system's keyring; where a new one is made, it is put there" },
  'recovery-file': {
    type: 'string',
    value: 'FILE',
    help: 'where the 24 words of the recovery key are, or are written to (a new file, mode 0600)',
  },
  'lock-after': {
    type: 'string',
    value: 'TIME',
    help: 'close the vault when no program has used it for so long: `90s`, `10m`, `1h`; remembered, `0` ends it',
  },
  'break-lock': { type: 'boolean', help: 'take the vault though another machine seems to use it: only where that is surely over' },
  'accept-older': { type: 'boolean', help: 'open it though it is older than this machine has seen it: it was restored from a backup' },
  force: { type: 'boolean', help: 'also while programs have files open in it: they get errors' },
  repair: { type: 'boolean', help: 'drop what is lost, say what, and mend the rest' },
  'keep-last': { type: 'string', value: 'N', help: 'keep the last N snapshots' },
  'keep-hourly': { type: 'string', value: 'N', help: 'keep the last one of each of the last N hours that have one' },
  'keep-daily': { type: 'string', value: 'N', help: 'the same for days' },
  'keep-weekly': { type: 'string', value: 'N', help: 'the same for weeks (they begin on Monday)' },
  'keep-monthly': { type: 'string', value: 'N', help: 'the same for months' },
  'keep-yearly': { type: 'string', value: 'N', help: 'the same for years' },
} as const satisfies Record<string, OptionDeclaration>

export type OptionName = keyof typeof OPTIONS

type Value<D extends OptionDeclaration> = D extends { type: 'boolean' }
  ? boolean
  : D extends { type: 'list' }
    ? readonly string[]
    : D extends { choices: readonly (infer Choice)[] }
      ? D extends { default: string }
        ? Choice
        : Choice | undefined
      : string | undefined

/** The type of an option's value: booleans are false when absent, lists empty, strings without a default undefined. */
export type OptionValue<N extends OptionName> = Value<(typeof OPTIONS)[N]>
