/**
 * Epochs: which rows a snapshot still sees, so that a change has to keep them.
 *
 * Owns: the current epoch and the newest snapshot. Must stay true: a row born in or before the newest snapshot is seen by it; one
 * born later is seen by none (snapshots are taken at the end of an epoch, and the next begins).
 */
export class Epochs {
  /** The epoch that rows written now are born in; also the number of the next snapshot. */
  current = 1
  /** The newest snapshot that is there; 0: none. */
  newest = 0

  /** Whether a row that was born then must be kept when it changes. */
  keeps(born: number): boolean {
    return born <= this.newest
  }
}
