/** The pure parts: ranges, conditions, the If header, names, paths, dates, XML. */
import test from 'ava'
import fc from 'fast-check'
import { entityTag, evaluateConditions, rangeApplies } from '../../src/fs/webdav/conditions.ts'
import { httpDate, isoDate, parseHttpDate } from '../../src/fs/webdav/dates.ts'
import { evaluateIf, parseIf, tokensIn } from '../../src/fs/webdav/if-header.ts'
import { nameOfText, otherSpellings, textOfName } from '../../src/fs/webdav/names.ts'
import { parseRange } from '../../src/fs/webdav/ranges.ts'
import { Refusal } from '../../src/fs/webdav/status.ts'
import { hrefOf, parsePath, parseReference } from '../../src/fs/webdav/target.ts'
import { readXml } from '../../src/fs/webdav/xml-read.ts'
import { writeElement } from '../../src/fs/webdav/xml-write.ts'
import { Attributes } from '../../src/vfs/contract.ts'

const seed = Number(process.env.SDMOUNT_TEST_SEED ?? Date.now() % 2 ** 31)
const runs = { seed, numRuns: 1000 }
console.log(`webdav pure tests: seed ${seed}`)

const utf8 = (text: string) => Buffer.from(text, 'utf8').toString('latin1')

/** Any name that a filesystem may hold. */
const anyName = fc
  .oneof(
    fc.uint8Array({ minLength: 1, maxLength: 40 }).map(bytes => Buffer.from(bytes).toString('latin1')),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }).map(utf8),
    fc
      .array(
        fc.constantFrom('\uf03a', '\uf0ff', '\uf02f', '\uf000', 'CON', '.', ' ', ':', '\\', 'é', 'e\u0301', '\uffff', 'a', '%', '\x01'),
        { minLength: 1, maxLength: 8 },
      )
      .map(parts => utf8(parts.join(''))),
  )
  .map(name => name.replace(/[/\0]/g, '_'))
  .filter(name => name !== '.' && name !== '..' && name.length <= 255)

test('a range means the bytes that RFC 9110 says', t => {
  const cases: [string | undefined, number, unknown][] = [
    [undefined, 10, 'whole'],
    ['bytes=0-3', 10, { start: 0, end: 4 }],
    ['bytes=4-', 10, { start: 4, end: 10 }],
    ['bytes=-3', 10, { start: 7, end: 10 }],
    ['bytes=-30', 10, { start: 0, end: 10 }],
    ['bytes=3-300', 10, { start: 3, end: 10 }],
    ['bytes=9-9', 10, { start: 9, end: 10 }],
    ['bytes=10-', 10, 'unsatisfiable'],
    ['bytes=10-12', 10, 'unsatisfiable'],
    ['bytes=-0', 10, 'unsatisfiable'],
    ['bytes=0-', 0, 'unsatisfiable'],
    ['bytes=-1', 0, 'unsatisfiable'],
    ['bytes=5-3', 10, 'whole'],
    ['bytes=-', 10, 'whole'],
    ['bytes=0-1,3-4', 10, 'whole'],
    ['bytes=a-b', 10, 'whole'],
    ['lines=0-3', 10, 'whole'],
    ['BYTES=1-2', 10, { start: 1, end: 3 }],
    ['bytes=99999999999999999999-', 10, 'unsatisfiable'],
    ['bytes=0-99999999999999999999', 10, { start: 0, end: 10 }],
  ]
  for (const [header, size, expected] of cases) t.deepEqual(parseRange(header, size), expected as never, String(header))
})

test('a range is always inside the file', t => {
  fc.assert(
    fc.property(fc.string(), fc.nat(), (text, size) => {
      const range = parseRange(`bytes=${text}`, size)
      if (typeof range === 'object') t.true(range.start >= 0 && range.start < range.end && range.end <= size)
    }),
    runs,
  )
  t.pass()
})

test('conditions in the order of RFC 9110', t => {
  const now = { tag: '"a"', mtimeSec: 1_000_000_000 }
  const earlier = httpDate(999_999_999)
  const same = httpDate(1_000_000_000)
  const check = (headers: Record<string, string>, reads = true, current: typeof now | undefined = now) =>
    evaluateConditions(headers, current, reads)
  t.is(check({}), 'go on')
  t.is(check({ 'if-match': '"a"' }), 'go on')
  t.is(check({ 'if-match': '"b", "a"' }), 'go on')
  t.is(check({ 'if-match': '*' }), 'go on')
  t.is(check({ 'if-match': 'W/"a"' }), 412)
  t.is(check({ 'if-match': '"b"' }), 412)
  t.is(evaluateConditions({ 'if-match': '*' }, undefined, false), 412)
  t.is(evaluateConditions({ 'if-none-match': '*' }, undefined, false), 'go on')
  t.is(check({ 'if-none-match': '*' }, false), 412)
  t.is(check({ 'if-none-match': '"a"' }), 304)
  t.is(check({ 'if-none-match': 'W/"a"' }), 304)
  t.is(check({ 'if-none-match': '"a"' }, false), 412)
  t.is(check({ 'if-none-match': '"b"' }), 'go on')
  t.is(check({ 'if-modified-since': same }), 304)
  t.is(check({ 'if-modified-since': earlier }), 'go on')
  t.is(check({ 'if-modified-since': same }, false), 'go on')
  t.is(check({ 'if-modified-since': 'yesterday' }), 'go on')
  t.is(check({ 'if-unmodified-since': earlier }), 412)
  t.is(check({ 'if-unmodified-since': same }), 'go on')
  // The stronger condition decides alone.
  t.is(check({ 'if-match': '"a"', 'if-unmodified-since': earlier }), 'go on')
  t.is(check({ 'if-none-match': '"b"', 'if-modified-since': same }), 'go on')
  t.is(check({ 'if-match': '"b"', 'if-none-match': '"a"' }), 412)
  t.true(rangeApplies(undefined, now))
  t.true(rangeApplies('"a"', now))
  t.false(rangeApplies('W/"a"', now))
  t.false(rangeApplies('"b"', now))
  t.true(rangeApplies(same, now))
  t.false(rangeApplies(earlier, now))
  t.false(rangeApplies('garbage', now))
})

test('the entity tag changes with whatever the bytes may change with', t => {
  const a = new Attributes()
  const tag = entityTag(a)
  t.regex(tag, /^"[0-9a-z-]+"$/)
  for (const field of ['ino', 'sizeBytes', 'mtimeSec', 'mtimeNsec', 'ctimeSec', 'ctimeNsec'] as const) {
    t.not(entityTag(Object.assign(new Attributes(), a, { [field]: 1 })), tag, field)
  }
  for (const field of ['atimeSec', 'atimeNsec', 'nlink'] as const)
    t.is(entityTag(Object.assign(new Attributes(), a, { [field]: 7 })), tag, field)
})

test('If headers: read, and held against what is there', async t => {
  const holds = (header: string, tag: string | undefined, ...tokens: string[]) =>
    evaluateIf(parseIf(header), async () => ({ tag, tokens: new Set(tokens) }))
  t.true(await holds('(<t>)', undefined, 't'))
  t.false(await holds('(<t>)', undefined, 'u'))
  t.true(await holds('(Not <t>)', undefined, 'u'))
  t.true(await holds('(<t> ["a"])', '"a"', 't'))
  t.false(await holds('(<t> ["b"])', '"a"', 't'))
  t.true(await holds('(<t> ["b"]) (["a"])', '"a"', 't'))
  t.true(await holds('(<t>) (Not <DAV:no-lock>)', undefined))
  t.false(await holds('(<DAV:no-lock>)', undefined, 't'))
  t.true(await holds('(Not ["a"] <t>)', '"b"', 't'))
  t.true(await holds('</a> (<t>) </b> (["x"])', undefined, 't'))
  t.false(await holds('([W/"a"])', '"a"'))
  t.deepEqual([...tokensIn(parseIf('</a> (<t> ["x"]) (Not <u>) </b> (<v>)'))], ['t', 'u', 'v'])
  for (const header of [
    '',
    '(',
    '<',
    'garbage',
    '([',
    '()',
    '(<>)',
    '(<t>',
    '(<t>) x',
    '</a>',
    '(<t>) </a> (<u>)',
    '(Not)',
    '([a])',
    '(["a"',
    ')',
    '(<t>)(',
  ])
    t.throws(() => parseIf(header), { instanceOf: Refusal }, header)
})

test('the If reader ends on any input, with lists or a refusal', t => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('(', ')', '<', '>', '[', ']', '"', 'Not', ' ', 'a', 'W/', ',', 'urn:x', '\t'), { maxLength: 60 }),
      parts => {
        try {
          parseIf(parts.join(''))
        } catch (error) {
          if (!(error instanceof Refusal) || error.status !== 400) throw error
        }
      },
    ),
    runs,
  )
  t.pass()
})

test('every name goes to text and back, for every client', t => {
  fc.assert(
    fc.property(anyName, name => {
      for (const style of ['plain', 'windows'] as const) {
        const text = textOfName(name, style)
        if (!text.isWellFormed()) throw new Error('lone surrogates')
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
        if (/[\x00-\x1f\x7f\\]/.test(text)) throw new Error(`unsafe: ${JSON.stringify(text)}`)
        if (style === 'windows' && /[<>:"|?*]|[ .]$/.test(text)) throw new Error(`not for Windows: ${JSON.stringify(text)}`)
        t.is(nameOfText(text), name)
      }
    }),
    runs,
  )
})

test('names that a client can show are shown as they are', t => {
  for (const text of ['plain', 'with space', 'ünïcödé', 'e\u0301', '日本語', '😀.txt', '100%', 'a#b?c', "it's", '~$x.docx', '._x'])
    t.is(textOfName(utf8(text), 'plain'), text)
  t.is(textOfName(utf8('a:b*c.'), 'plain'), 'a:b*c.')
  t.is(textOfName(utf8('a:b*c.'), 'windows'), 'a\uf03ab\uf02ac\uf02e')
  t.is(textOfName(utf8('nul.txt'), 'windows'), '\uf06eul.txt')
  t.is(textOfName(utf8('null.txt'), 'windows'), 'null.txt')
  t.is(textOfName('a\xffb', 'plain'), 'a\uf0ffb')
  t.is(textOfName('a\nb\\', 'plain'), 'a\uf00ab\uf05c')
})

test('other spellings: composed and decomposed', t => {
  t.deepEqual(otherSpellings(utf8('é')), [utf8('e\u0301')])
  t.deepEqual(otherSpellings(utf8('e\u0301')), [utf8('é')])
  t.deepEqual(otherSpellings('plain'), [])
  t.deepEqual(otherSpellings('\xff'), [])
})

test('every path goes to an href and back', t => {
  fc.assert(
    fc.property(fc.array(anyName, { maxLength: 5 }), fc.boolean(), (path, collection) => {
      for (const style of ['plain', 'windows'] as const) {
        const href = hrefOf(path, collection, style)
        if (!/^[\w.~%/-]+$/.test(href)) throw new Error(`unsafe href ${href}`)
        const target = parsePath(href)
        t.deepEqual(target.path, path)
        t.is(target.slash, collection || path.length === 0)
      }
    }),
    runs,
  )
})

test('no path leads out of the tree, in whatever encoding', t => {
  const bad = [
    'x',
    '',
    '/a/../b',
    '/..',
    '/%2e%2e/x',
    '/%2E%2e',
    '/.',
    '/a/./b',
    '/a%2fb',
    '/a%2Fb',
    '/a%5cb',
    '/a\\b',
    '/a%00b',
    '/a\x01b',
    '/%7f',
    '/%',
    '/%4',
    '/%zz',
    '/a#b',
    `/${'n'.repeat(256)}`,
    '/%EF%80%AE',
    '/%EF%80%AE%EF%80%AE',
    `/${'a/'.repeat(600)}`,
  ]
  for (const path of bad) t.throws(() => parsePath(path), { instanceOf: Refusal }, path)
  t.deepEqual(parsePath('//a///b/?x=%zz').path, ['a', 'b'])
  t.is(parsePath('/a?x=1').query, 'x=1')
  t.deepEqual(parsePath('/...').path, ['...'])
  t.deepEqual(parsePath('/%ff').path, ['\xff'])
  t.deepEqual(parsePath(`/${'n'.repeat(255)}`).path, ['n'.repeat(255)])
})

test('the path reader ends on any input, with safe names or a refusal', t => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('/', '.', '%', '2', 'e', 'f', 'F', '0', '5', 'c', '\\', 'a', '#', '?', '\xff', '%EF%80', '%AE', '%C0%AE'), {
        maxLength: 40,
      }),
      parts => {
        try {
          for (const name of parsePath(`/${parts.join('')}`).path) {
            if (name === '' || name === '.' || name === '..' || name.length > 255 || /[/\0]/.test(name))
              throw new Error(`let through: ${JSON.stringify(name)}`)
          }
        } catch (error) {
          if (!(error instanceof Refusal) || error.status !== 400) throw error
        }
      },
    ),
    { ...runs, numRuns: 5000 },
  )
  t.pass()
})

test('references: paths and URLs of this server, undefined for another', t => {
  t.deepEqual(parseReference('http://h:80/a', 'h')?.path, ['a'])
  t.deepEqual(parseReference('http://H/a', 'h')?.path, ['a'])
  t.deepEqual(parseReference('https://h/a', 'h:443')?.path, ['a'])
  t.deepEqual(parseReference('http://u:p@h:8/a', 'h:8')?.path, ['a'])
  t.deepEqual(parseReference('http://h', 'h')?.path, [])
  t.is(parseReference('http://other/a', 'h'), undefined)
  t.is(parseReference('http://h:81/a', 'h'), undefined)
  for (const bad of ['a', 'ftp://h/a', 'http:///a', 'http://h/%zz', ''])
    t.throws(() => parseReference(bad, 'h'), { instanceOf: Refusal }, bad)
})

test('dates: written and read in all three forms', t => {
  t.is(httpDate(784111777), 'Sun, 06 Nov 1994 08:49:37 GMT')
  t.is(isoDate(784111777), '1994-11-06T08:49:37Z')
  for (const text of ['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994'])
    t.is(parseHttpDate(text), 784111777)
  for (const text of ['', 'now', '1994-11-06', 'Sun, 99 Nov 1994 08:49:37 GMT']) t.is(parseHttpDate(text), undefined, text)
  t.is(httpDate(1e15), 'Fri, 31 Dec 9999 23:59:59 GMT')
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_000_000_000 }), sec => t.is(parseHttpDate(httpDate(sec)), sec)),
    runs,
  )
})

test('XML: what a client stored means the same when it is given back', t => {
  const cases = [
    '<a/>',
    '<a xmlns="urn:x"><b/>text</a>',
    '<x:a xmlns:x="urn:x" x:y="1" z="2"><x:b xmlns:x="urn:other"/></x:a>',
    '<a>&lt;&amp;&gt; "quoted" &#x1F600; \u00e9</a>',
    '<a b="&quot;&#10;&#9;&lt;"/>',
    '<a xmlns="urn:x"><b xmlns=""/></a>',
    '<a xml:lang="de"/>',
  ]
  for (const text of cases) {
    const once = writeElement(readXml(Buffer.from(text)))
    t.is(writeElement(readXml(Buffer.from(once))), once)
    t.deepEqual(meaning(readXml(Buffer.from(once))), meaning(readXml(Buffer.from(text))))
  }
  t.is(writeElement(readXml(Buffer.from('<a/>')), 'de'), '<a xml:lang="de"/>')
  t.is(writeElement(readXml(Buffer.from('<a xml:lang="fr"/>')), 'de'), '<a xml:lang="fr"/>')
})

test('XML: bounds and refusals', t => {
  const refused = (body: string | Buffer) => t.throws(() => readXml(Buffer.from(body)), { instanceOf: Refusal })
  for (const body of [
    '',
    ' ',
    '<a>',
    '<a></b>',
    'text',
    '<a/><b/>',
    '<a>&nbsp;</a>',
    '<p:a/>',
    '<!DOCTYPE a><a/>',
    '<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
    '<a b="1" b="2"/>',
    '<a>\u0001</a>',
    '\ud800',
  ])
    refused(body)
  refused(Buffer.from([0x3c, 0x61, 0x3e, 0xff, 0x3c, 0x2f, 0x61, 0x3e]))
  refused('<a>'.repeat(30_000) + '</a>'.repeat(30_000))
  refused(`<a>${'<b/>'.repeat(5000)}</a>`)
  refused(`<a ${Array.from({ length: 5000 }, (_, i) => `b${i}="1"`).join(' ')}/>`)
  refused(`<a>${'<!---->'.repeat(5000)}</a>`)
  t.is(readXml(Buffer.from('\ufeff<a/>', 'utf16le')).local, 'a')
  t.is(readXml(Buffer.from('\ufeff<?xml version="1.0" encoding="utf-8"?><a/>')).local, 'a')
})

/** What an element says, without prefixes and declarations. */
function meaning(element: ReturnType<typeof readXml>): unknown {
  const attributes = element.attributes.map(({ namespace, local, value }) => [namespace, local, value]).sort()
  return [element.namespace, element.local, attributes, element.children.map(child => (typeof child === 'string' ? child : meaning(child)))]
}
