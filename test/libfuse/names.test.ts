/** Names as strings of the library: what goes there comes back. */
import test from 'ava'
import fc from 'fast-check'
import { FsError } from '../../src/errors.ts'
import { fromText, toText } from '../../src/fs/libfuse/names.ts'

const name = (bytes: readonly number[] | Buffer) => Buffer.from(bytes as Buffer).toString('latin1')
/** As the library does with what it is given. */
const throughUtf8 = (text: string) => Buffer.from(text, 'utf8').toString('utf8')

test('every name comes back, and no two names have the same text', t => {
  const bytes = fc.array(
    fc.oneof(fc.integer({ min: 1, max: 255 }), fc.constantFrom(0xee, 0xef, 0xbe, 0xbf, 0xbd, 0xed, 0xa0, 0x80, 0xc3, 0xa9, 0xf0, 0x9f)),
    {
      minLength: 1,
      maxLength: 40,
    },
  )
  fc.assert(
    fc.property(bytes, value => fromText(throughUtf8(toText(name(value)))) === name(value)),
    { numRuns: 20_000 },
  )
  t.pass()
})

test('UTF-8 is shown as what it is', t => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), text => {
      if (/[\uef80-\uefff\ufffd]/.test(text)) return true
      return toText(Buffer.from(text, 'utf8').toString('latin1')) === text
    }),
    { numRuns: 5_000 },
  )
  t.pass()
})

test('bytes that are no UTF-8 are shown one by one', t => {
  t.is(toText('caf\xe9'), 'caf\uefe9')
  t.is(toText(name([0xc0, 0x80])), '\uefc0\uef80')
  t.is(toText(name([0xed, 0xa0, 0x80])), '\uefed\uefa0\uef80')
  t.is(toText(name([0xf5, 0x80, 0x80, 0x80])), '\ueff5\uef80\uef80\uef80')
  t.is(toText(name([0xe3, 0x81])), '\uefe3\uef81')
  t.is(toText(name(Buffer.from('\uefe9'))), '\uefee\uefbf\uefa9')
  t.is(toText(name(Buffer.from('\ufffd'))), '\uefef\uefbf\uefbd')
})

test('what the library could not tell is refused', t => {
  t.throws(() => fromText('a\ufffdb'), { instanceOf: FsError, message: /not UTF-8/ })
})
