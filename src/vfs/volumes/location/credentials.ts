/**
 * In whose name files are made: a mount of root makes them as the caller's, with the caller's umask.
 *
 * Owns: the filesystem uid, gid and umask of the main thread. Must stay true: they are the daemon's own again when `as`
 * returns. Permission was checked by the kernel against the node's attributes (default_permissions), so the daemon keeps
 * its capabilities while it takes on the caller's ids: a group that only the caller's supplementary groups hold must not
 * be refused. What `as` runs must not wait for anything.
 */
import { linux } from '../../../sys/linux.ts'
import type { RequestContext } from '../../contract.ts'

const CLONE_FS = 0x200
const PR_GET_SECUREBITS = 27
const PR_SET_SECUREBITS = 28
const SECBIT_NO_SETUID_FIXUP = 1 << 2
const OWN_UMASK = 0o077

export class Credentials {
  readonly #sys = linux()
  /** Root may take on other ids; everybody else makes files as himself. */
  readonly isRoot: boolean = process.getuid?.() === 0

  constructor() {
    // The umask belongs to the process unless it is unshared: then it is this thread's alone.
    this.#sys.unshare(CLONE_FS)
    this.#sys.umask(OWN_UMASK)
    if (!this.isRoot) return
    const bits = this.#sys.prctl(PR_GET_SECUREBITS, 0, 0, 0, 0)
    if (bits >= 0) this.#sys.prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
  }

  /** Runs `action` with the caller's umask and, as root, its ids. */
  as<T>(context: RequestContext, action: () => T): T {
    const sys = this.#sys
    const other = this.isRoot && (context.uid !== 0 || context.gid !== 0)
    if (other) {
      sys.setfsgid(context.gid)
      sys.setfsuid(context.uid)
    }
    sys.umask(context.umask)
    try {
      return action()
    } finally {
      sys.umask(OWN_UMASK)
      if (other) {
        sys.setfsuid(0)
        sys.setfsgid(0)
      }
    }
  }
}
