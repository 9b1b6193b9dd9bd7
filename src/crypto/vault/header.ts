/**
 * A vault's header: made, opened by a secret, changed.
 *
 * Owns: the key hierarchy of a vault down to its master key. A slot wraps the master key under a key of its own: Argon2id of a
 * passphrase, or a recovery key of 256 random bits. The master key seals the header, so that slots can't be exchanged, added or
 * taken away by who lacks it. All sealing is AES-256-GCM by src/crypto/sealing.ts: each wrapping key seals one piece, under a
 * salt of its own.
 * Must stay true: a header is a value: each change answers new bytes of the next generation, and the old ones stay good until
 * the new ones are stored (header-files.ts of the volume stores). A wrong secret is told from a header that is damaged, and that
 * from one that was tampered with. There is always a passphrase, one recovery key at most.
 * It doesn't: touch files, ask anybody, or change the master key (who once had it, and the chunks, can read them).
 */
import { randomBytes } from 'node:crypto'
import type { Passphrase } from '../passphrase.ts'
import { OpeningSpace, SealingSpace, TAG_BYTES } from '../sealing.ts'
import { KEY_BYTES, SecretKey } from '../secret-key.ts'
import { ARGON2_SALT_BYTES, type Argon2Costs, deriveKey } from './argon2.ts'
import { HeaderError } from './header-error.ts'
import {
  decodeHeader,
  decodeLabels,
  encodeHeader,
  encodeLabels,
  type Header,
  headerPlace,
  KNOWN_FEATURES,
  LABEL_LIMIT_BYTES,
  LABELS_BYTES,
  SLOT_COUNT,
  type Slot,
  type SlotKind,
  type SlotLabel,
  slotPlace,
  VAULT_ID_BYTES,
} from './header-format.ts'

/** The label of the recovery key's slot; no passphrase may have it. */
export const RECOVERY_LABEL = 'recovery'

/** What a header opens to. Whoever got it wipes the master key. */
export interface VaultKeys {
  readonly vaultId: Buffer
  readonly master: SecretKey
}

/** What opens a slot. */
export type HeaderSecret = Passphrase | SecretKey

export type NewSlot =
  | { readonly label: string; readonly passphrase: Passphrase; readonly costs: Argon2Costs }
  | { readonly recovery: SecretKey }

export interface SlotInfo {
  readonly label: string
  readonly kind: SlotKind
  readonly createdMs: number
  readonly argon2: Argon2Costs | undefined
}

type Labels = readonly (SlotLabel | undefined)[]

/** A new vault with a new master key. */
export async function createHeader(slots: readonly NewSlot[], now: () => number = Date.now, features = 0): Promise<OpenHeader> {
  if ((features & ~KNOWN_FEATURES) !== 0) throw new Error('a feature that this program does not know')
  const keys = { vaultId: randomBytes(VAULT_ID_BYTES), master: SecretKey.random() }
  const empty = { features, generation: 0, vaultId: keys.vaultId, slots: new Array<Slot | undefined>(SLOT_COUNT).fill(undefined) }
  let header = new OpenHeader(keys, empty, [], undefined, now)
  try {
    for (const slot of slots) header = await header.add(slot)
    if (!header.slots.some(slot => slot.kind === 'passphrase')) throw new Error('a vault has a passphrase')
    return header.begun()
  } catch (error) {
    keys.master[Symbol.dispose]()
    throw error
  }
}

/** Opens a header by a passphrase (a SecretKey is a recovery key). Throws HeaderError. */
export async function unlockHeader(bytes: Buffer, secret: HeaderSecret, now: () => number = Date.now): Promise<OpenHeader> {
  const header = decodeHeader(bytes)
  for (const [number, slot] of header.slots.entries()) {
    if (!slot || (slot.kind === 'recovery') !== secret instanceof SecretKey) continue
    const master = await unwrap(header.vaultId, slot, secret)
    if (!master) continue
    return OpenHeader.authenticated({ vaultId: header.vaultId, master }, header, number, now)
  }
  if (!(secret instanceof SecretKey)) throw new HeaderError('wrong-secret', 'wrong passphrase')
  const has = header.slots.some(slot => slot?.kind === 'recovery')
  throw new HeaderError('wrong-secret', has ? 'this is not the recovery key of this vault' : 'this vault has no recovery key')
}

/** A header whose keys are at hand already: of a vault that is open. Throws HeaderError; the keys stay the caller's. */
export function openHeaderWith(keys: VaultKeys, bytes: Buffer, now: () => number = Date.now): OpenHeader {
  const header = decodeHeader(bytes)
  if (!header.vaultId.equals(keys.vaultId)) throw new HeaderError('forged', 'the header is that of another vault')
  return OpenHeader.authenticated(
    { vaultId: keys.vaultId, master: keys.master.use(master => new SecretKey(master)) },
    header,
    undefined,
    now,
  )
}

/** A header that was opened: its keys, and what may be changed in it. A change answers another one, with the same keys. */
export class OpenHeader implements Disposable {
  readonly keys: VaultKeys
  readonly #header: Omit<Header, 'salt' | 'sealedLabels'>
  readonly #labels: Labels
  readonly #openedBy: number | undefined
  readonly #now: () => number

  /** For this file. */
  constructor(
    keys: VaultKeys,
    header: Omit<Header, 'salt' | 'sealedLabels'>,
    labels: Labels,
    openedBy: number | undefined,
    now: () => number,
  ) {
    this.keys = keys
    this.#header = header
    this.#labels = labels
    this.#openedBy = openedBy
    this.#now = now
  }

  /** Checks the seal over the whole header; wipes the keys when it doesn't hold. */
  static authenticated(keys: VaultKeys, header: Header, openedBy: number | undefined, now: () => number): OpenHeader {
    const space = new OpeningSpace(keys.master, 'vault-header', header.salt)
    const labels = space.open(0, headerPlace(header), header.sealedLabels)
    if (!labels) {
      keys.master[Symbol.dispose]()
      throw new HeaderError('forged', 'the header was changed by somebody without the key: it is not trusted')
    }
    return new OpenHeader(keys, header, decodeLabels(labels, header.slots), openedBy, now)
  }

  get generation(): number {
    return this.#header.generation
  }

  /** The label of the slot whose secret opened it. */
  get openedBy(): string | undefined {
    return this.#openedBy === undefined ? undefined : this.#labels[this.#openedBy]?.label
  }

  get slots(): SlotInfo[] {
    return this.#header.slots.flatMap((slot, i) => {
      const label = this.#labels[i]
      if (!slot || !label) return []
      const { argon2 } = slot
      const costs = argon2 && { memoryKib: argon2.memoryKib, passes: argon2.passes, lanes: argon2.lanes }
      return [{ ...label, kind: slot.kind, argon2: costs }]
    })
  }

  /** The bytes to store: sealed anew each time. */
  encode(): Buffer {
    const space = new SealingSpace(this.keys.master, 'vault-header')
    const unsealed = { ...this.#header, salt: space.salt }
    const sealedLabels = Buffer.alloc(LABELS_BYTES + TAG_BYTES)
    space.seal(0, headerPlace(unsealed), encodeLabels(this.#labels), sealedLabels, 0)
    return encodeHeader({ ...unsealed, sealedLabels })
  }

  /** A new one's first generation is 1, however many slots it began with. */
  begun(): OpenHeader {
    return new OpenHeader(this.keys, { ...this.#header, generation: 1 }, this.#labels, this.#openedBy, this.#now)
  }

  /** With one slot more. Throws HeaderError 'slot' when its label is taken, or all slots are. */
  async add(slot: NewSlot): Promise<OpenHeader> {
    const label = labelOf(slot)
    if (this.#find(label) !== undefined) throw new HeaderError('slot', `there is a slot "${label}" already`)
    const number = this.#header.slots.indexOf(undefined)
    if (number < 0) throw new HeaderError('slot', `all ${SLOT_COUNT} slots are in use; remove one first`)
    return await this.#with(number, slot)
  }

  /** With another secret in the slot of that label (or made, where there is none). */
  async replace(slot: NewSlot): Promise<OpenHeader> {
    const number = this.#find(labelOf(slot))
    return number === undefined ? await this.add(slot) : await this.#with(number, slot)
  }

  /** Without the slot. Throws HeaderError 'slot' when there is none, or it is the last passphrase. */
  remove(label: string): OpenHeader {
    const number = this.#find(label)
    if (number === undefined) throw new HeaderError('slot', `there is no slot "${label}" (there are: ${this.#labelsText()})`)
    const slots = this.#header.slots.with(number, undefined)
    if (!slots.some(slot => slot?.kind === 'passphrase'))
      throw new HeaderError('slot', `"${label}" is the last passphrase: add another one first`)
    return this.#changed(slots, this.#labels.with(number, undefined))
  }

  /** Wipes the master key, of this and of all it was changed to. */
  [Symbol.dispose](): void {
    this.keys.master[Symbol.dispose]()
  }

  async #with(number: number, slot: NewSlot): Promise<OpenHeader> {
    const wrapped = await wrap(this.keys, slot)
    const labels = Array.from({ length: SLOT_COUNT }, (_, i) => this.#labels[i])
    labels[number] = { label: labelOf(slot), createdMs: this.#now() }
    return this.#changed(this.#header.slots.with(number, wrapped), labels)
  }

  #changed(slots: Header['slots'], labels: Labels): OpenHeader {
    return new OpenHeader(this.keys, { ...this.#header, slots, generation: this.#header.generation + 1 }, labels, this.#openedBy, this.#now)
  }

  #find(label: string): number | undefined {
    const number = this.#labels.findIndex((known, i) => this.#header.slots[i] !== undefined && known?.label === label)
    return number < 0 ? undefined : number
  }

  #labelsText(): string {
    return this.slots.map(slot => slot.label).join(', ')
  }
}

function labelOf(slot: NewSlot): string {
  if (!('label' in slot)) return RECOVERY_LABEL
  const sizeBytes = Buffer.byteLength(slot.label)
  if (slot.label === RECOVERY_LABEL) throw new HeaderError('slot', `"${RECOVERY_LABEL}" is the slot of the recovery key`)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be in a label
  if (sizeBytes === 0 || sizeBytes > LABEL_LIMIT_BYTES || /[\x00-\x1f\x7f]/.test(slot.label))
    throw new HeaderError('slot', `a label has 1 to ${LABEL_LIMIT_BYTES} bytes and no control characters`)
  return slot.label
}

async function wrap({ vaultId, master }: VaultKeys, slot: NewSlot): Promise<Slot> {
  const seal = (key: SecretKey, argon2: Slot['argon2'], kind: SlotKind): Slot => {
    const space = new SealingSpace(key, 'vault-slot')
    const unwrapped = { kind, argon2, salt: space.salt }
    const wrapped = Buffer.alloc(KEY_BYTES + TAG_BYTES)
    master.use(bytes => space.seal(0, slotPlace(vaultId, unwrapped), bytes, wrapped, 0))
    return { ...unwrapped, wrapped }
  }
  if ('recovery' in slot) return seal(slot.recovery, undefined, 'recovery')
  const salt = randomBytes(ARGON2_SALT_BYTES)
  using key = await deriveKey(slot.passphrase, salt, slot.costs)
  return seal(key, { ...slot.costs, salt }, 'passphrase')
}

async function unwrap(vaultId: Buffer, slot: Slot, secret: HeaderSecret): Promise<SecretKey | undefined> {
  const open = (key: SecretKey) => {
    const bytes = new OpeningSpace(key, 'vault-slot', slot.salt).open(0, slotPlace(vaultId, slot), slot.wrapped)
    if (!bytes) return undefined
    const master = new SecretKey(bytes)
    bytes.fill(0)
    return master
  }
  if (secret instanceof SecretKey) return open(secret)
  if (!slot.argon2) return undefined
  using key = await deriveKey(secret, slot.argon2.salt, slot.argon2)
  return open(key)
}
