/** The table of errors: each kind is the errno that its comment names. */
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import test from 'ava'
import { type ErrorKind, FsError } from '../../src/errors.ts'
import { ERRNO_OF_KIND, errnoOf } from '../../src/fs/fuse/errno.ts'
import { errnoError } from '../../src/sys/errno.ts'

const LINUX: Readonly<Record<string, number>> = {
  ...constants.errno,
  EUCLEAN: 117,
  ENOMEDIUM: 123,
  EDQUOT: 122,
  ESTALE: 116,
  EOPNOTSUPP: 95,
}

test('each kind is the errno that its declaration names', t => {
  const source = readFileSync(new URL('../../src/errors.ts', import.meta.url), 'utf8')
  const declared = [...source.matchAll(/^ {2}\| '([a-z-]+)' \/\/ (E[A-Z0-9]+)/gm)]
  t.is(declared.length, Object.keys(ERRNO_OF_KIND).length)
  for (const [, kind, errno] of declared) {
    t.not(LINUX[errno!], undefined, errno)
    t.is(ERRNO_OF_KIND[kind as ErrorKind] as number | undefined, LINUX[errno!], `${kind} ${errno}`)
  }
})

test('what is no operating error is EIO', t => {
  for (const thrown of [new Error('x'), new TypeError('x'), 'text', undefined, null, 7, { kind: 'not-found' }]) t.is(errnoOf(thrown), 5)
})

test('an errno of the host comes out as it went in', t => {
  // Kinds that several errnos share, and those that say what they mean here by another one.
  const others: Readonly<Record<number, number>> = { 19: 6, 23: 24, 38: 95, 107: 123, 108: 123, 112: 123, 113: 123, 121: 5 }
  for (const errno of Object.values(LINUX)) {
    const error = errnoError(errno, 'test')
    t.true(error instanceof FsError)
    if (error.kind === 'io') continue
    t.is(errnoOf(error), others[errno] ?? errno, `errno ${errno}`)
  }
})

test('an errno that nobody knows is EIO, with its number in the message', t => {
  const error = errnoError(9999, 'test')
  t.is(errnoOf(error), 5)
  t.regex(error.message, /9999/)
})
