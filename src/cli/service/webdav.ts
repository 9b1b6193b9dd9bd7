/**
 * WebDAV beside or instead of the mount: settings from the command line become a running server.
 *
 * Owns: the servers of a tree, the choice of TLS and password, and what the user is told of them. Must stay true: a password is in no log and in
 * no file of ours; beyond loopback there is TLS and a password; the front end is loaded when it is asked for (half of the
 * modules of a mount would be its otherwise).
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname, networkInterfaces } from 'node:os'
import { basename } from 'node:path'
import type { WebdavServer } from '../../fs/webdav/server.ts'
import type { Index, VolumeKind } from '../../index/contract.ts'
import type { SqliteIndex } from '../../index/open-index.ts'
import { MemoryPropertyStore } from '../../index/property-store.ts'
import type { Log } from '../../log.ts'
import { programLocks } from '../../sys/program-locks.ts'
import type { Name } from '../../vfs/contract.ts'
import type { NodeLocks } from '../../vfs/guarded-vfs.ts'
import { notifyingVfs } from '../../vfs/notifying-vfs.ts'
import type { Tree } from '../../vfs/tree.ts'
import { CommandError } from '../exit-codes.ts'
import { nameOfText } from '../names.ts'

/** As given on the command line; passes between processes as JSON. */
export interface WebdavSettings {
  readonly host: string
  readonly port: number
  readonly user: string | undefined
  readonly password: string | undefined
  /** Anybody on this machine may connect. */
  readonly anonymous: boolean
  readonly readOnly: boolean
  /** Paths of PEM files. */
  readonly cert: string | undefined
  readonly key: string | undefined
  /** Desktop clutter is kept on cloud volumes too. */
  readonly keepClutter: boolean
}

/** What is served or mapped, as the rest of the daemon sees it: like a mount. */
export interface WebdavSession {
  /** The address, or the drive. */
  readonly mountpoint: string
  readonly ended: Promise<void>
  unmount(options: { readonly lazy: boolean }): Promise<void>
  settled(): Promise<void>
  statistics(): Readonly<Record<string, unknown>>
  /** What the user is told: where, who, and what to compare. */
  readonly notices: readonly string[]
}

export interface WebdavServersOptions {
  readonly tree: Tree
  readonly index: Index
  readonly log: Log
  /** Where a certificate of our own is kept. */
  readonly directory: string
  readonly kindOf: (volume: Name) => VolumeKind | undefined
}

/** The WebDAV servers of one tree. */
export class WebdavServers {
  readonly #options: WebdavServersOptions
  readonly #servers = new Set<WebdavServer>()
  #mount: { readonly mountpoint: string; settled(): Promise<void> } | undefined

  constructor(options: WebdavServersOptions) {
    this.#options = options
  }

  /** The locks of all clients: the mount beside works through `guardedVfs` with these. */
  readonly locks: NodeLocks = ((servers: ReadonlySet<WebdavServer>) => ({
    get anyHeld() {
      for (const server of servers) if (server.locks.anyHeld) return true
      return false
    },
    holds(ino: number) {
      for (const server of servers) if (server.locks.holds(ino)) return true
      return false
    },
  }))(this.#servers)

  /** The tree is mounted too: what is changed over WebDAV from now on is told to the mount. */
  besideMount(mount: { readonly mountpoint: string; settled(): Promise<void> }): void {
    this.#mount = mount
  }

  /** Serves the tree. */
  async serve(settings: WebdavSettings): Promise<WebdavSession> {
    const { host, port } = settings
    const [{ serveWebdav }, { isLoopback }, { fingerprintOf }] = await Promise.all([
      import('../../fs/webdav/server.ts'),
      import('../../fs/webdav/authenticator.ts'),
      import('../../fs/webdav/certificate.ts'),
    ])
    const local = host === 'localhost' || isLoopback(host)
    const tls = await tlsOf(settings, local, this.#options.directory)
    const credentials = credentialsOf(settings, local)
    try {
      const server = await serveWebdav({
        ...this.#parts(settings),
        host,
        port,
        ...(credentials ? { credentials } : { anonymous: true }),
        ...(tls ? { tls } : {}),
      })
      return this.#session(server, server.url, noticesOf(settings, server, credentials, tls && fingerprintOf(tls.cert)), () =>
        server.close(),
      )
    } catch (error) {
      throw explained(error, `${host}:${port}`)
    }
  }

  /** Shows the tree as a drive of this machine. */
  async map(target: string, settings: Pick<WebdavSettings, 'readOnly' | 'keepClutter'>): Promise<WebdavSession> {
    const { mapDrive } = await import('../../fs/webdav/drive.ts')
    const drive = await mapDrive({
      ...this.#parts(settings),
      target,
      label: basename(target),
      platform: process.platform === 'win32' || process.platform === 'darwin' ? process.platform : 'linux',
      isRoot: process.getuid?.() === 0,
      signal: new AbortController().signal,
    })
    return this.#session(drive.server, target, drive.notices, ({ lazy }) => drive.unmount(lazy))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#servers].map(server => server.close()))
  }

  #parts({ readOnly, keepClutter }: Pick<WebdavSettings, 'readOnly' | 'keepClutter'>) {
    const { tree, index, log, kindOf } = this.#options
    const mount = this.#mount
    return {
      vfs: mount ? notifyingVfs(tree, tree.listener) : tree,
      log,
      readOnly,
      properties: (index as Partial<Pick<SqliteIndex, 'properties'>>).properties ?? new MemoryPropertyStore(),
      acceptsLitter: (top: Name) => keepClutter || kindOf(top) === 'location',
      ...(mount ? { settled: () => mount.settled(), heldByProgram: programLocks(nameOfText(mount.mountpoint)) } : {}),
      identity: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, umask: 0o022 },
    }
  }

  #session(server: WebdavServer, mountpoint: string, notices: readonly string[], unmount: WebdavSession['unmount']): WebdavSession {
    this.#servers.add(server)
    void server.ended.catch(() => {}).then(() => this.#servers.delete(server))
    return {
      mountpoint,
      ended: server.ended,
      unmount,
      settled: async () => {},
      statistics: () => ({ url: server.url, activeRequests: server.activeRequests }),
      notices,
    }
  }
}

function explained(error: unknown, where: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') return new CommandError('webdav', `${where} is taken by another program: choose another port with --listen`)
  const refused = code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND'
  return refused ? new CommandError('webdav', `can't listen at ${where}: ${message}`) : error
}

async function tlsOf(
  settings: WebdavSettings,
  local: boolean,
  directory: string,
): Promise<{ readonly key: string; readonly cert: string } | undefined> {
  const { cert, key } = settings
  if (cert !== undefined && key !== undefined) return { cert: readPem(cert), key: readPem(key) }
  if (cert !== undefined || key !== undefined) throw new CommandError('usage', '--cert and --key go together')
  if (local) return undefined
  const { ensureCertificate } = await import('../../fs/webdav/certificate.ts')
  return ensureCertificate(directory, certificateHosts(settings.host), new Date())
}

function readPem(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new CommandError('webdav', `can't read ${path}: ${(error as Error).message}`)
  }
}

function isEverywhere(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

/** Where others find a server that listens on every address of this machine. */
export function addressesFor(url: string, interfaces: ReturnType<typeof networkInterfaces>): string[] {
  const { protocol, port, hostname: host } = new URL(url)
  if (!isEverywhere(host.replace(/[[\]]/g, ''))) return []
  const outside = Object.values(interfaces).flatMap(list => (list ?? []).filter(({ internal, scopeid }) => !internal && !scopeid))
  // An address of IPv4's kind is reached also where the server listens by IPv6; the other way round it isn't.
  const shown = outside.filter(({ family }) => family === 'IPv4' || host !== '0.0.0.0')
  return shown.map(({ family, address }) => `${protocol}//${family === 'IPv6' ? `[${address}]` : address}:${port}/`)
}

/** All names under which clients may know this machine. */
function certificateHosts(host: string): string[] {
  const name = hostname().toLowerCase()
  const addresses = Object.values(networkInterfaces()).flatMap(list => (list ?? []).map(({ address }) => address.replace(/%.*$/, '')))
  const own = [name, `${name}.local`, 'localhost'].filter(candidate => /^[a-z0-9.-]+$/.test(candidate))
  return [...new Set([...own, ...(isEverywhere(host) ? addresses : [host, '127.0.0.1'])])]
}

function credentialsOf(settings: WebdavSettings, local: boolean): { readonly user: string; readonly password: string } | undefined {
  if (settings.anonymous) {
    if (!local)
      throw new CommandError('usage', '--anonymous is for this machine alone: give --user and --password-file, or listen on 127.0.0.1')
    return undefined
  }
  return { user: settings.user ?? 'sdmount', password: settings.password ?? randomBytes(15).toString('base64url') }
}

function noticesOf(
  settings: WebdavSettings,
  server: WebdavServer,
  credentials: { readonly user: string; readonly password: string } | undefined,
  fingerprint: string | undefined,
): string[] {
  const lines = [`serving at ${server.url}`]
  const addresses = addressesFor(server.url, networkInterfaces())
  if (addresses.length > 0) lines.push(`from other machines: ${addresses.join(' ')}`)
  if (credentials) {
    // One of our own making has to be told; one that was given is known.
    lines.push(settings.password === undefined ? `user ${credentials.user}, password ${credentials.password}` : `user ${credentials.user}`)
  } else lines.push('anybody on this machine may connect')
  if (fingerprint !== undefined) lines.push(`certificate ${settings.cert ?? 'made by sdmount'}, SHA-256 ${fingerprint}`)
  return lines
}
