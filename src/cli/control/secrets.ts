/**
 * How a command hands passphrases to the daemon: through the control socket, sealed to a key that the daemon made for this one
 * request.
 *
 * What comes over the socket is JSON, so it becomes JavaScript strings, which nobody can wipe. These strings hold ciphertext: the
 * secret itself is only ever in memory that is wiped, and the key that opens it is forgotten with the first use. (The socket is
 * 0600 in a directory of 0700; this protects the daemon's memory, not the socket.)
 *
 * Owns: the keys that were offered. Must stay true: a key opens one envelope; what was offered and not used is bounded and the
 * oldest goes first; whatever arrives, the answer is the secrets or a CommandError 'daemon'.
 *
 * The envelope: {"to": the offered key, "from": the sender's, both X25519 in hex (SPKI DER), "salt": hex, "sealed": [[name, hex], ...]}.
 * Key: HKDF (secret-key.ts, purpose `control-secret`) of the shared secret; each piece at its position, place: both keys and the name.
 */
import { createPublicKey, diffieHellman, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { PASSPHRASE_LIMIT_BYTES, Passphrase } from '../../crypto/passphrase.ts'
import { OpeningSpace, SALT_BYTES, SealingSpace, TAG_BYTES } from '../../crypto/sealing.ts'
import { SecretKey } from '../../crypto/secret-key.ts'
import { CommandError } from '../exit-codes.ts'

/** What passes: passphrases, and recovery keys (32 bytes), by name. Whoever got them disposes of them. */
export type Secrets = ReadonlyMap<string, Passphrase>

const OFFERED_LIMIT = 32
const SECRETS_LIMIT = 4
const KEY_FORM = /^[0-9a-f]{88}$/

export interface Envelope {
  readonly to: string
  readonly from: string
  readonly salt: string
  readonly sealed: readonly (readonly [name: string, hex: string])[]
}

/** The daemon's end. */
export class SecretExchange {
  readonly #offered = new Map<string, KeyObject>()

  /** A key for one envelope. */
  offer(): string {
    const { publicKey, privateKey } = generateKeyPairSync('x25519')
    const name = encode(publicKey)
    this.#offered.set(name, privateKey)
    for (const oldest of this.#offered.keys()) {
      if (this.#offered.size <= OFFERED_LIMIT) break
      this.#offered.delete(oldest)
    }
    return name
  }

  /** Opens what `sealSecrets` made for a key that was offered here, once. */
  open(envelope: unknown): Secrets {
    const { to, from, salt, sealed } = checked(envelope)
    const privateKey = this.#offered.get(to)
    if (!privateKey) throw new CommandError('daemon', 'the secrets of the request are sealed to another key; try again')
    this.#offered.delete(to)
    const secrets = new Map<string, Passphrase>()
    using parent = sharedKey(privateKey, from)
    const space = new OpeningSpace(parent, 'control-secret', Buffer.from(salt, 'hex'))
    for (const [position, [name, hex]] of sealed.entries()) {
      const bytes = space.open(position, place(to, from, name), Buffer.from(hex, 'hex'))
      if (!bytes || bytes.length === 0) {
        wipe(secrets)
        throw new CommandError('daemon', 'the secrets of the request can not be opened')
      }
      secrets.set(name, new Passphrase(bytes))
      bytes.fill(0)
    }
    return secrets
  }
}

/** The command's end: seals secrets to a key that the daemon offered. */
export function sealSecrets(offered: string, secrets: Secrets): Envelope {
  if (!KEY_FORM.test(offered)) throw new CommandError('daemon', 'the daemon offered no key for secrets')
  const { publicKey, privateKey } = generateKeyPairSync('x25519')
  const from = encode(publicKey)
  using parent = sharedKey(privateKey, offered)
  const space = new SealingSpace(parent, 'control-secret')
  const sealed = [...secrets].map(([name, secret], position) => {
    const piece = Buffer.alloc(secret.sizeBytes + TAG_BYTES)
    secret.use(bytes => space.seal(position, place(offered, from, name), bytes, piece, 0))
    return [name, piece.toString('hex')] as const
  })
  return { to: offered, from, salt: space.salt.toString('hex'), sealed }
}

function wipe(secrets: Secrets): void {
  for (const secret of secrets.values()) secret[Symbol.dispose]()
}

function sharedKey(privateKey: KeyObject, other: string): SecretKey {
  let shared: Buffer
  try {
    const publicKey = createPublicKey({ key: Buffer.from(other, 'hex'), format: 'der', type: 'spki' })
    shared = diffieHellman({ privateKey, publicKey })
  } catch {
    throw new CommandError('daemon', 'a key for secrets that is none')
  }
  const key = new SecretKey(shared)
  shared.fill(0)
  return key
}

function encode(publicKey: KeyObject): string {
  return publicKey.export({ type: 'spki', format: 'der' }).toString('hex')
}

function place(to: string, from: string, name: string): Buffer {
  return Buffer.from(`${to} ${from} ${name}`, 'utf8')
}

function checked(value: unknown): Envelope {
  const { to, from, salt, sealed } = (typeof value === 'object' && value !== null ? value : {}) as Partial<Record<keyof Envelope, unknown>>
  const isHex = (text: unknown, limitBytes: number): text is string =>
    typeof text === 'string' && text.length <= limitBytes * 2 && /^([0-9a-f]{2})*$/.test(text)
  const isPiece = (piece: unknown): piece is readonly [string, string] =>
    Array.isArray(piece) && piece.length === 2 && typeof piece[0] === 'string' && isHex(piece[1], PASSPHRASE_LIMIT_BYTES + TAG_BYTES)
  const good =
    typeof to === 'string' &&
    typeof from === 'string' &&
    KEY_FORM.test(from) &&
    isHex(salt, SALT_BYTES) &&
    salt.length === SALT_BYTES * 2 &&
    Array.isArray(sealed) &&
    sealed.length <= SECRETS_LIMIT &&
    sealed.every(isPiece)
  if (!good) throw new CommandError('daemon', 'the secrets of the request are not in their form')
  return { to, from, salt, sealed: sealed as readonly (readonly [string, string])[] }
}
