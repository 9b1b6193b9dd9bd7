/** How secrets reach the daemon: sealed to a key for one request; and where commands read them. */
import { randomBytes } from 'node:crypto'
import test from 'ava'
import { type Envelope, SecretExchange, sealSecrets } from '../../src/cli/control/secrets.ts'
import { CommandError } from '../../src/cli/exit-codes.ts'
import { Passphrase } from '../../src/crypto/passphrase.ts'
import { SeededRandom, seedOf } from '../support/random.ts'

const bytesOf = (secret: Passphrase | undefined) => secret?.use(bytes => Buffer.from(bytes))

test('secrets arrive, once', t => {
  const exchange = new SecretExchange()
  const given = new Map([
    ['passphrase', new Passphrase(Buffer.from('old one'))],
    ['new', new Passphrase(randomBytes(4096))],
  ])
  const envelope = JSON.parse(JSON.stringify(sealSecrets(exchange.offer(), given))) as Envelope
  t.false(JSON.stringify(envelope).includes(Buffer.from('old one').toString('hex')))
  const opened = exchange.open(envelope)
  for (const [name, secret] of given) t.deepEqual(bytesOf(opened.get(name)), bytesOf(secret))
  t.is(opened.size, 2)
  t.throws(() => exchange.open(envelope), { instanceOf: CommandError, message: /another key/ }, 'a key opens one envelope')
})

test('each request has its own key, and unused ones do not pile up', t => {
  const exchange = new SecretExchange()
  const offers = Array.from({ length: 100 }, () => exchange.offer())
  t.is(new Set(offers).size, 100)
  const given = new Map([['passphrase', new Passphrase(Buffer.from('x'))]])
  t.throws(() => exchange.open(sealSecrets(offers[0]!, given)), { instanceOf: CommandError })
  t.is(bytesOf(exchange.open(sealSecrets(offers[99]!, given)).get('passphrase'))?.toString(), 'x')
})

test('what is not in its form, changed, or renamed opens nothing and ends nothing', t => {
  const seed = seedOf(process.env)
  t.log(`SEED=${seed}`)
  const random = new SeededRandom(seed)
  const exchange = new SecretExchange()
  const given = new Map([['passphrase', new Passphrase(Buffer.from('secret'))]])
  const refused = (envelope: unknown) => t.throws(() => exchange.open(envelope), { instanceOf: CommandError })
  for (const envelope of [undefined, null, 1, 'x', [], {}, { to: 'x', from: 'y', salt: '', sealed: [] }]) refused(envelope)
  for (let round = 0; round < 300; round++) {
    const good = sealSecrets(exchange.offer(), given)
    const text = JSON.stringify(good)
    const at = random.below(text.length)
    const changed = text.slice(0, at) + random.pick(['0', 'f', '"', '7', ']', 'zz']) + text.slice(at + 1)
    if (changed === text) continue
    let envelope: unknown
    try {
      envelope = JSON.parse(changed)
    } catch {
      continue
    }
    refused(envelope)
  }
  const good = sealSecrets(exchange.offer(), given)
  refused({ ...good, sealed: [['new', good.sealed[0]![1]]] })
  const low = sealSecrets(exchange.offer(), given)
  refused({ ...low, from: low.from.slice(0, 24) + '00'.repeat(32) })
})
