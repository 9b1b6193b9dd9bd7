/**
 * The memory that the main thread and the observer's thread share: small numbers that must not wait for a message.
 *
 * Owns: which cell means what, and the rule who writes it.
 *   acknowledged   written by main: how many batches it has dealt with
 *   share          written by main: percent of the time that the scan may use
 *   token          written by main: the newest token of the index
 *   progress       written by the observer: counts up while it does anything
 *   resting        written by the observer: 1 while it waits for events, 0 while it works
 *   hungry         written by the observer: 1 while it waits for an acknowledgement
 *   descriptors    written by the observer: what it has open, so that main can close it when the thread has died
 * Must stay true: every descriptor of the observer's thread is in a cell while it is open; main closes them only after the
 * thread has ended.
 */
import type { Linux } from '../../../../sys/linux.ts'

const ACKNOWLEDGED = 0
const SHARE = 1
const PROGRESS = 2
const RESTING = 3
const HUNGRY = 4
const FIRST_DESCRIPTOR = 8
/** Byte offset of the token, one 64-bit cell. */
const TOKEN_BYTES = 64
const SIZE_BYTES = 128

/** One cell for each descriptor that the observer may have open at a time. */
export const DESCRIPTORS = ['inotify', 'mountinfo', 'root', 'step', 'listing', 'changes', 'child'] as const
export type DescriptorSlot = (typeof DESCRIPTORS)[number]

export class Control {
  readonly memory: SharedArrayBuffer
  readonly #cells: Int32Array
  readonly #token: BigInt64Array

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(SIZE_BYTES)) {
    this.memory = memory
    this.#cells = new Int32Array(memory)
    this.#token = new BigInt64Array(memory, TOKEN_BYTES, 1)
  }

  get acknowledged(): number {
    return Atomics.load(this.#cells, ACKNOWLEDGED)
  }
  addAcknowledged(): void {
    Atomics.add(this.#cells, ACKNOWLEDGED, 1)
  }
  get sharePercent(): number {
    return Atomics.load(this.#cells, SHARE)
  }
  set sharePercent(percent: number) {
    Atomics.store(this.#cells, SHARE, percent)
  }
  get token(): number {
    return Number(Atomics.load(this.#token, 0))
  }
  set token(token: number) {
    Atomics.store(this.#token, 0, BigInt(token))
  }
  get progress(): number {
    return Atomics.load(this.#cells, PROGRESS)
  }
  /** Only the observer's thread writes it: no atomic addition is needed. */
  progressed(): void {
    this.#cells[PROGRESS]!++
  }
  get isResting(): boolean {
    return Atomics.load(this.#cells, RESTING) === 1
  }
  set isResting(resting: boolean) {
    Atomics.store(this.#cells, RESTING, resting ? 1 : 0)
  }
  get isHungry(): boolean {
    return Atomics.load(this.#cells, HUNGRY) === 1
  }
  set isHungry(hungry: boolean) {
    Atomics.store(this.#cells, HUNGRY, hungry ? 1 : 0)
  }

  /** The descriptor in a cell, or -1. */
  descriptor(slot: DescriptorSlot): number {
    return this.#cells[FIRST_DESCRIPTOR + DESCRIPTORS.indexOf(slot)]! - 1
  }
  setDescriptor(slot: DescriptorSlot, descriptor: number): void {
    this.#cells[FIRST_DESCRIPTOR + DESCRIPTORS.indexOf(slot)] = descriptor + 1
  }
}

/** Opening and closing with the cells kept true. */
export class Descriptors {
  readonly #sys: Linux
  readonly #control: Control

  constructor(sys: Linux, control: Control) {
    this.#sys = sys
    this.#control = control
  }

  get(slot: DescriptorSlot): number {
    return this.#control.descriptor(slot)
  }

  /** Puts a fresh descriptor (or a negative errno, which is passed on) into its cell; what was there is closed. */
  keep(slot: DescriptorSlot, descriptor: number): number {
    this.close(slot)
    if (descriptor >= 0) this.#control.setDescriptor(slot, descriptor)
    return descriptor
  }

  /** The descriptor moves to another cell. */
  move(from: DescriptorSlot, to: DescriptorSlot): number {
    const descriptor = this.get(from)
    this.#control.setDescriptor(from, -1)
    return this.keep(to, descriptor)
  }

  close(slot: DescriptorSlot): void {
    const descriptor = this.get(slot)
    if (descriptor < 0) return
    this.#control.setDescriptor(slot, -1)
    this.#sys.close(descriptor)
  }

  closeAll(): void {
    for (const slot of DESCRIPTORS) this.close(slot)
  }
}
