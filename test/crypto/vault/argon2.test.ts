/** Argon2id: RFC 9106's algorithm, the bounds, the choice of costs. */
import test from 'ava'
import { Passphrase } from '../../../src/crypto/passphrase.ts'
import {
  ARGON2_BOUNDS,
  ARGON2_FLOOR,
  type Argon2Costs,
  calibrateArgon2,
  costsProblem,
  deriveKey,
} from '../../../src/crypto/vault/argon2.ts'
import { FsError } from '../../../src/errors.ts'

const GIB = 2 ** 30

test('the same key as every Argon2id', async t => {
  // From the tests of the reference implementation: version 0x13, t=2, m=2^16, p=1.
  const key = await deriveKey(new Passphrase(Buffer.from('password')), Buffer.from('somesalt'), {
    memoryKib: 65_536,
    passes: 2,
    lanes: 1,
  })
  t.is(
    key.use(bytes => bytes.toString('hex')),
    '09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7',
  )
})

test('costs out of bounds are never computed with', async t => {
  const good: Argon2Costs = { memoryKib: 8192, passes: 1, lanes: 1 }
  t.is(costsProblem(good), undefined)
  const bad: Partial<Argon2Costs>[] = [
    { memoryKib: 8191 },
    { memoryKib: ARGON2_BOUNDS.memoryKib.max + 1 },
    { memoryKib: 0xffff_ffff },
    { passes: 0 },
    { passes: 65 },
    { lanes: 0 },
    { lanes: 17 },
    { memoryKib: ARGON2_BOUNDS.memoryKib.max, passes: 5 },
  ]
  for (const change of bad) {
    t.not(costsProblem({ ...good, ...change }), undefined, JSON.stringify(change))
    const error = await t.throwsAsync(deriveKey(new Passphrase(Buffer.from('x')), Buffer.alloc(16), { ...good, ...change }), {
      instanceOf: FsError,
    })
    t.is(error.kind, 'invalid')
  }
})

test('costs are chosen for about a second, within what is fair', async t => {
  const choose = (passMs: number, totalMemoryBytes: number) => calibrateArgon2({ measureMs: async () => passMs, totalMemoryBytes })
  t.deepEqual(await choose(250, 16 * GIB), { memoryKib: 262_144, passes: 4, lanes: 4 })
  t.deepEqual(await choose(250, 1 * GIB), { memoryKib: 131_072, passes: 4, lanes: 4 })
  // A clock that says nothing sensible, and machines that are much too slow or too fast.
  for (const passMs of [0, 1e-9, 1, 1e9, Number.POSITIVE_INFINITY]) {
    for (const totalMemoryBytes of [0, GIB / 4, GIB, 1024 * GIB]) {
      const costs = await choose(passMs, totalMemoryBytes)
      t.is(costsProblem(costs), undefined)
      t.true(costs.memoryKib * costs.passes >= ARGON2_FLOOR.memoryKib * ARGON2_FLOOR.passes, JSON.stringify(costs))
      t.true(costs.memoryKib >= ARGON2_FLOOR.memoryKib)
    }
  }
})

test('this machine can do what it chooses', async t => {
  t.is(costsProblem(await calibrateArgon2()), undefined)
})
