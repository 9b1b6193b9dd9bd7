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
} as const satisfies Record<string, OptionDeclaration>

export type OptionName = keyof typeof OPTIONS

type Value<D extends OptionDeclaration> = D extends { type: 'boolean' }
  ? boolean
  : D extends { type: 'list' }
    ? readonly string[]
    : D extends { choices: readonly (infer Choice)[] }
      ? Choice
      : string | undefined

/** The type of an option's value: booleans are false when absent, lists empty, strings without a default undefined. */
export type OptionValue<N extends OptionName> = Value<(typeof OPTIONS)[N]>
