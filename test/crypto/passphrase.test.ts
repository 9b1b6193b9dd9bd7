/** Passphrases: their normal form, their bounds, their wiping. */
import test from 'ava'
import { PASSPHRASE_LIMIT_BYTES, Passphrase } from '../../src/crypto/passphrase.ts'
import { FsError } from '../../src/errors.ts'

const bytesOf = (passphrase: Passphrase) => passphrase.use(bytes => Buffer.from(bytes))
const typed = (text: string) => Passphrase.normalised(Buffer.from(text, 'utf8'))

test('one passphrase however a system writes it down', t => {
  const composed = typed('Zürich ﬁx')
  t.true(composed.equals(typed('Zürich fix'.normalize('NFD'))))
  t.is(bytesOf(typed('ｐａｓｓ１')).toString(), 'pass1')
  t.is(bytesOf(typed(' two  spaces ')).toString(), ' two  spaces ')
})

test('bytes that are no text are taken as they are', t => {
  const bytes = Buffer.from([0xff, 0xfe, 0x00, 0x41])
  t.deepEqual(bytesOf(Passphrase.normalised(bytes)), bytes)
})

test('empty and endless ones are refused', t => {
  t.is(t.throws(() => typed(''), { instanceOf: FsError }).kind, 'invalid')
  t.is(t.throws(() => typed('x'.repeat(PASSPHRASE_LIMIT_BYTES + 1)), { instanceOf: FsError }).kind, 'invalid')
  t.is(typed('x'.repeat(PASSPHRASE_LIMIT_BYTES)).sizeBytes, PASSPHRASE_LIMIT_BYTES)
})

test('wiped, it is gone, and the bytes of who gave it are left alone', t => {
  const given = Buffer.from('secret')
  const passphrase = new Passphrase(given)
  const inside = passphrase.use(bytes => bytes)
  passphrase[Symbol.dispose]()
  t.deepEqual(inside, Buffer.alloc(6))
  t.is(given.toString(), 'secret')
  t.throws(() => passphrase.use(() => {}), { message: /wiped/ })
})
