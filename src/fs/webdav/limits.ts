/**
 * Every bound of the WebDAV front end in one place.
 * Owns: names and defaults. `docs/webdav.md` has the same table.
 */

export interface WebdavLimits {
  /** Connections at once; one more is closed at once. */
  readonly connections: number
  /** Request line and headers. */
  readonly headerBytes: number
  /** Until the headers of a request must have come. */
  readonly headersTimeoutMs: number
  /** A connection without a request is closed after this. */
  readonly keepAliveMs: number
  /** A body that stops coming, or an answer that isn't taken, is given up after this. */
  readonly stallMs: number
  /** XML bodies. */
  readonly xmlBytes: number
  /** XML bodies must have come whole within this. */
  readonly xmlTimeoutMs: number
  /** The largest file that is taken. */
  readonly fileBytes: number
  /** One property's value, and all properties of one file. */
  readonly propertyBytes: number
  readonly propertiesBytes: number
  /** The longest lock; also what a client gets that asks for none or for ever. */
  readonly lockSec: number
  /** Entries that the listing page for browsers shows. */
  readonly pageEntries: number
  /** Entries of a listing that are rendered before other requests get their turn. */
  readonly listingSlice: number
  /** How long `close` waits for requests that are under way. */
  readonly closeMs: number
}

export const DEFAULT_LIMITS: WebdavLimits = {
  connections: 512,
  headerBytes: 32 * 1024,
  headersTimeoutMs: 20_000,
  keepAliveMs: 15_000,
  stallMs: 60_000,
  xmlBytes: 1024 * 1024,
  xmlTimeoutMs: 30_000,
  fileBytes: 16 * 2 ** 40,
  propertyBytes: 64 * 1024,
  propertiesBytes: 1024 * 1024,
  lockSec: 3600,
  pageEntries: 10_000,
  listingSlice: 200,
  closeMs: 5000,
}
