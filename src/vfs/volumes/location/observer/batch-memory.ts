/**
 * Where batches lie on their way between the threads: a fixed number of places in shared memory, used again and again, so
 * that a scan of millions of files leaves no garbage behind.
 *
 * Must stay true: a place is written by the observer's thread while it is free and read by the main thread while it is
 * taken; each side hands it over with one atomic store.
 */
const FREE = 0
const TAKEN = 1
/** More than a full batch; what is larger still travels by itself. */
const PLACE_BYTES = 96 * 1024

export class BatchMemory {
  readonly memory: SharedArrayBuffer
  readonly #states: Int32Array
  readonly #places: number
  readonly #statesBytes: number
  #next = 0

  /** Made on the main thread with a number of places; the other thread is given the memory. */
  constructor(from: number | SharedArrayBuffer) {
    this.#places = typeof from === 'number' ? from : Math.floor(from.byteLength / (PLACE_BYTES + 8))
    this.#statesBytes = this.#places * 8
    this.memory = typeof from === 'number' ? new SharedArrayBuffer(this.#statesBytes + this.#places * PLACE_BYTES) : from
    this.#states = new Int32Array(this.memory, 0, this.#places)
  }

  /** Copies a batch into a free place and answers its number; -1: it doesn't fit, or none is free. */
  put(bytes: Uint8Array): number {
    if (bytes.length > PLACE_BYTES) return -1
    for (let tries = 0; tries < this.#places; tries++) {
      const place = this.#next
      this.#next = (this.#next + 1) % this.#places
      if (Atomics.load(this.#states, place) !== FREE) continue
      this.bytes(place, bytes.length).set(bytes)
      Atomics.store(this.#states, place, TAKEN)
      return place
    }
    return -1
  }

  bytes(place: number, lengthBytes: number): Uint8Array {
    return new Uint8Array(this.memory, this.#statesBytes + place * PLACE_BYTES, lengthBytes)
  }

  free(place: number): void {
    Atomics.store(this.#states, place, FREE)
  }
}
