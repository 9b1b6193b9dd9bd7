/**
 * The bytes of a vault's header.
 *
 * Owns: the layout, and everything that can be said of a header without a key. header.ts opens and changes headers.
 * Must stay true: whatever the bytes are, `decodeHeader` answers a header or throws a HeaderError that says which of the things
 * below is wrong; costs are within their bounds before anybody computes with them. In all versions to come bytes 0..15 and the
 * closing checksum stay where they are, so that a newer header is told from a damaged one.
 *
 * Numbers are little-endian.
 *   offset size   field
 *   0      8      "sdmvault"
 *   8      2      version, 1
 *   10     2      zero
 *   12     4      length of the header with its checksum, 2048
 *   16     4      feature flags: a bit that isn't known refuses the vault (none is in use yet)
 *   20     4      zero
 *   24     8      generation: each change of the header is one more
 *   32     16     vault id, random
 *   48     16     zero
 *   64     8*128  slots
 *   1088   32     salt of the seal's space, purpose `vault header`, parent: the master key; new with each change
 *   1120   512    labels, 8 of 64 bytes, sealed at position 0; place: bytes 0..1119
 *   1632   16     their tag: it authenticates the whole header
 *   1648   368    zero
 *   2016   32     SHA-256 of all before: tells accidents from wrong passphrases, and proves nothing against people
 * A slot:
 *   0      1      kind: 0 empty (then all of it is zero), 1 passphrase, 2 recovery key
 *   1      1      how the wrapping key is made: 0 it is the recovery key itself, 1 Argon2id (version 1.3)
 *   2      2      zero
 *   4      4      Argon2id: memory in KiB
 *   8      4      Argon2id: passes
 *   12     4      Argon2id: lanes
 *   16     16     Argon2id: salt
 *   32     32     salt of the slot's space, purpose `vault key slot`, parent: the wrapping key
 *   64     32     the master key, sealed at position 0; place: "sdmount vault slot 1", vault id, bytes 0..63 of the slot
 *   96     16     its tag
 *   112    16     zero
 * A label:
 *   0      1      length in bytes, 0 to 55
 *   1      55     UTF-8, zeros after it
 *   56     8      when the slot was made, milliseconds since 1970
 */
import { createHash } from 'node:crypto'
import { SALT_BYTES, TAG_BYTES } from '../sealing.ts'
import { KEY_BYTES } from '../secret-key.ts'
import { ARGON2_SALT_BYTES, type Argon2Costs, costsProblem } from './argon2.ts'
import { HeaderError } from './header-error.ts'

export const HEADER_BYTES = 2048
export const HEADER_VERSION = 1
export const VAULT_ID_BYTES = 16
export const SLOT_COUNT = 8
export const LABEL_LIMIT_BYTES = 55
/** Feature flags that this program knows. */
export const KNOWN_FEATURES = 0

const MAGIC = Buffer.from('sdmvault', 'latin1')
const PREFIX_BYTES = 16
const CHECKSUM_BYTES = 32
const SLOTS_AT = 64
const SLOT_BYTES = 128
const SALT_AT = SLOTS_AT + SLOT_COUNT * SLOT_BYTES
const LABELS_AT = SALT_AT + SALT_BYTES
const LABEL_BYTES = 64
export const LABELS_BYTES = SLOT_COUNT * LABEL_BYTES
const SEALED_LABELS_BYTES = LABELS_BYTES + TAG_BYTES
const PADDING_AT = LABELS_AT + SEALED_LABELS_BYTES
const CHECKSUM_AT = HEADER_BYTES - CHECKSUM_BYTES
/** A newer header may be longer; what claims to be longer than this is damaged. */
const LENGTH_LIMIT_BYTES = 1 << 20
const SLOT_PLACE = Buffer.from('sdmount vault slot 1', 'latin1')

export type SlotKind = 'passphrase' | 'recovery'

export interface Slot {
  readonly kind: SlotKind
  /** Of a passphrase. */
  readonly argon2: (Argon2Costs & { readonly salt: Buffer }) | undefined
  readonly salt: Buffer
  /** The master key with its tag. */
  readonly wrapped: Buffer
}

export interface Header {
  readonly features: number
  readonly generation: number
  readonly vaultId: Buffer
  /** By number; undefined where it is empty. */
  readonly slots: readonly (Slot | undefined)[]
  readonly salt: Buffer
  /** With their tag. */
  readonly sealedLabels: Buffer
}

export interface SlotLabel {
  readonly label: string
  readonly createdMs: number
}

/** What the labels' seal is bound to: the header before them. */
export function headerPlace(header: Omit<Header, 'sealedLabels'>): Buffer {
  const bytes = Buffer.alloc(LABELS_AT)
  MAGIC.copy(bytes)
  bytes.writeUInt16LE(HEADER_VERSION, 8)
  bytes.writeUInt32LE(HEADER_BYTES, 12)
  bytes.writeUInt32LE(header.features, 16)
  bytes.writeBigUInt64LE(BigInt(header.generation), 24)
  header.vaultId.copy(bytes, 32)
  header.slots.forEach((slot, i) => {
    if (slot) encodeSlot(slot, bytes.subarray(SLOTS_AT + i * SLOT_BYTES, SLOTS_AT + (i + 1) * SLOT_BYTES))
  })
  header.salt.copy(bytes, SALT_AT)
  return bytes
}

export function encodeHeader(header: Header): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  headerPlace(header).copy(bytes)
  header.sealedLabels.copy(bytes, LABELS_AT)
  checksum(bytes.subarray(0, CHECKSUM_AT)).copy(bytes, CHECKSUM_AT)
  return bytes
}

/** Throws HeaderError 'foreign', 'truncated', 'damaged', 'newer', 'excessive'. */
export function decodeHeader(bytes: Buffer): Header {
  if (bytes.length === 0) throw new HeaderError('truncated', 'the header is empty')
  const magic = bytes.subarray(0, MAGIC.length)
  if (!magic.equals(MAGIC.subarray(0, magic.length))) throw new HeaderError('foreign', 'this is not the header of a vault')
  if (bytes.length < PREFIX_BYTES) throw truncated(bytes.length)
  const length = bytes.readUInt32LE(12)
  if (length > LENGTH_LIMIT_BYTES || length < PREFIX_BYTES + CHECKSUM_BYTES) throw damaged('its length')
  if (bytes.length < length) throw truncated(bytes.length, length)
  if (bytes.length > length) throw new HeaderError('damaged', `the header is damaged: ${bytes.length - length} bytes follow its end`)
  if (!checksum(bytes.subarray(0, length - CHECKSUM_BYTES)).equals(bytes.subarray(length - CHECKSUM_BYTES))) throw damaged('its checksum')
  const version = bytes.readUInt16LE(8)
  if (version > HEADER_VERSION)
    throw new HeaderError('newer', `the vault was made by a newer sdmount (header version ${version}, this one reads ${HEADER_VERSION})`)
  if (version !== HEADER_VERSION || length !== HEADER_BYTES) throw damaged('its version')
  const features = bytes.readUInt32LE(16)
  const unknown = (features & ~KNOWN_FEATURES) >>> 0
  if (unknown !== 0)
    throw new HeaderError('newer', `the vault uses features that this sdmount does not know (flags 0x${unknown.toString(16)})`)
  const generation = Number(bytes.readBigUInt64LE(24))
  if (!Number.isSafeInteger(generation) || generation < 1) throw damaged('its generation')
  if (!isZero(bytes, 10, 12) || !isZero(bytes, 20, 24) || !isZero(bytes, 48, SLOTS_AT) || !isZero(bytes, PADDING_AT, CHECKSUM_AT))
    throw damaged('what must be zero in it')
  const slots = Array.from({ length: SLOT_COUNT }, (_, i) =>
    decodeSlot(bytes.subarray(SLOTS_AT + i * SLOT_BYTES, SLOTS_AT + (i + 1) * SLOT_BYTES), i),
  )
  if (slots.every(slot => slot === undefined)) throw damaged('its slots: there are none')
  return {
    features,
    generation,
    vaultId: copyOf(bytes, 32, VAULT_ID_BYTES),
    slots,
    salt: copyOf(bytes, SALT_AT, SALT_BYTES),
    sealedLabels: copyOf(bytes, LABELS_AT, SEALED_LABELS_BYTES),
  }
}

/** What the master key in a slot is bound to. */
export function slotPlace(vaultId: Buffer, slot: Omit<Slot, 'wrapped'>): Buffer {
  const bytes = Buffer.alloc(SLOT_BYTES)
  encodeSlot({ ...slot, wrapped: Buffer.alloc(0) }, bytes)
  return Buffer.concat([SLOT_PLACE, vaultId, bytes.subarray(0, 64)])
}

function encodeSlot(slot: Slot, into: Buffer): void {
  into[0] = slot.kind === 'passphrase' ? 1 : 2
  if (slot.argon2) {
    into[1] = 1
    into.writeUInt32LE(slot.argon2.memoryKib, 4)
    into.writeUInt32LE(slot.argon2.passes, 8)
    into.writeUInt32LE(slot.argon2.lanes, 12)
    slot.argon2.salt.copy(into, 16)
  }
  slot.salt.copy(into, 32)
  slot.wrapped.copy(into, 64)
}

function decodeSlot(bytes: Buffer, number: number): Slot | undefined {
  const what = `slot ${number + 1}`
  const [kind, derivation] = bytes
  if (kind === 0) {
    if (!isZero(bytes, 0, SLOT_BYTES)) throw damaged(what)
    return undefined
  }
  if (!isZero(bytes, 2, 4) || !isZero(bytes, 112, SLOT_BYTES)) throw damaged(what)
  const rest = { salt: copyOf(bytes, 32, SALT_BYTES), wrapped: copyOf(bytes, 64, KEY_BYTES + TAG_BYTES) }
  if (kind === 1 && derivation === 1) {
    const costs = { memoryKib: bytes.readUInt32LE(4), passes: bytes.readUInt32LE(8), lanes: bytes.readUInt32LE(12) }
    const problem = costsProblem(costs)
    if (problem !== undefined) throw new HeaderError('excessive', `the header asks for ${problem}, which is out of bounds: it isn't opened`)
    return { kind: 'passphrase', argon2: { ...costs, salt: copyOf(bytes, 16, ARGON2_SALT_BYTES) }, ...rest }
  }
  if (kind === 2 && derivation === 0 && isZero(bytes, 4, 32)) return { kind: 'recovery', argon2: undefined, ...rest }
  throw damaged(what)
}

export function encodeLabels(labels: readonly (SlotLabel | undefined)[]): Buffer {
  const bytes = Buffer.alloc(LABELS_BYTES)
  labels.forEach((label, i) => {
    if (!label) return
    const text = Buffer.from(label.label, 'utf8')
    const at = i * LABEL_BYTES
    bytes[at] = text.length
    text.copy(bytes, at + 1)
    bytes.writeBigUInt64LE(BigInt(label.createdMs), at + 56)
  })
  return bytes
}

/** Of bytes that were authenticated. */
export function decodeLabels(bytes: Buffer, slots: readonly (Slot | undefined)[]): (SlotLabel | undefined)[] {
  return slots.map((slot, i) => {
    if (!slot) return undefined
    const at = i * LABEL_BYTES
    const length = Math.min(bytes[at]!, LABEL_LIMIT_BYTES)
    return { label: bytes.toString('utf8', at + 1, at + 1 + length), createdMs: Number(bytes.readBigUInt64LE(at + 56)) }
  })
}

function truncated(haveBytes: number, wantedBytes: number = HEADER_BYTES): HeaderError {
  return new HeaderError('truncated', `the header is cut off: ${haveBytes} of ${wantedBytes} bytes are there`)
}

function damaged(what: string): HeaderError {
  return new HeaderError('damaged', `the header is damaged (${what} is wrong)`)
}

function checksum(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}

function isZero(bytes: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] !== 0) return false
  return true
}

function copyOf(bytes: Buffer, at: number, length: number): Buffer {
  return Buffer.from(bytes.subarray(at, at + length))
}
