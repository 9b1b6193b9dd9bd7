/**
 * The keys to a bucket, as the user of a command gives them: from a file, typed on the terminal, or by the AWS configuration.
 *
 * Owns: where they are looked for, in which order, and the forms of a file of keys. Must stay true: keys are never taken from the
 * command line (every process of the machine can read it) and never printed; what is wrong with them is said without them.
 */
import { readFileSync } from 'node:fs'
import type { BucketKeys } from '../library/secrets.ts'
import type { Invocation } from './command.ts'
import { CommandError } from './exit-codes.ts'
import { pathProblem } from './paths.ts'
import type { VolumeKeys } from './service/requests.ts'

const FILE_LIMIT_BYTES = 64 * 1024

/** The options that say where the keys come from. */
export const KEY_OPTIONS = ['profile', 'ask', 'credentials-file', 'seal'] as const

/** Whether the user said anything about keys. */
export function saysKeys(invocation: Invocation): boolean {
  return KEY_OPTIONS.some(name => invocation.option(name) !== undefined && invocation.option(name) !== false)
}

/**
 * The keys to use. Where nothing is said, and the AWS configuration has none, they are asked for if there is somebody to ask;
 * else that is CommandError 'credentials'.
 */
export async function givenKeys(invocation: Invocation): Promise<VolumeKeys> {
  const file = invocation.option('credentials-file')
  const profile = invocation.option('profile')
  const given = [file !== undefined, invocation.option('ask'), invocation.option('seal') || profile !== undefined].filter(Boolean)
  if (given.length > 1)
    throw new CommandError('usage', 'the keys come from one place: --credentials-file, --ask, or --profile (with or without --seal)')
  if (file !== undefined) return parseKeys(readKeys(file))
  if (invocation.option('ask')) return await askKeys(invocation)
  const { standardCredentials } = await import('../backends/s3/credentials.ts')
  try {
    const { accessKeyId, secretAccessKey, sessionToken } = await standardCredentials(profile)()
    return invocation.option('seal') ? { accessKeyId, secretAccessKey, sessionToken } : { chain: true }
  } catch (error) {
    const { canAsk } = await import('./terminal/ask.ts')
    if (profile === undefined && !invocation.option('seal') && canAsk()) return await askKeys(invocation)
    throw new CommandError(
      'credentials',
      `${(error as Error).message}; give keys with --ask or --credentials-file, or set the AWS configuration up`,
      { cause: undefined },
    )
  }
}

function readKeys(file: string): string {
  try {
    const text = readFileSync(file === '-' ? 0 : file, 'utf8')
    if (text.length > FILE_LIMIT_BYTES) throw new CommandError('credentials', `${file} is too large to be a file of keys`)
    return text
  } catch (error) {
    throw error instanceof CommandError ? error : new CommandError('credentials', `${file}: ${pathProblem(error)}`)
  }
}

/** `ID:SECRET` in one line (as s3fs has it), or ID, SECRET and perhaps a session token in a line each. `#` begins a comment. */
export function parseKeys(text: string): BucketKeys {
  const lines = text
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !line.startsWith('#'))
  const parts = lines.length === 1 ? lines[0]!.split(':') : lines
  return checked(parts)
}

async function askKeys(invocation: Invocation): Promise<BucketKeys> {
  const { ask } = await import('./terminal/ask.ts')
  const { signal } = invocation
  const id = await ask('Access key id: ', { secret: false, signal })
  const secret = await ask('Secret access key (not shown): ', { secret: true, signal })
  return checked([id.trim(), secret.trim()])
}

function checked(parts: readonly string[]): BucketKeys {
  const [accessKeyId, secretAccessKey, sessionToken] = parts
  const isKey = (part: string | undefined): part is string => part !== undefined && /^[\x21-\x7e]+$/.test(part)
  if (parts.length > 3 || !isKey(accessKeyId) || !isKey(secretAccessKey) || (sessionToken !== undefined && !isKey(sessionToken)))
    throw new CommandError('credentials', 'these are no keys: an access key id and a secret access key are needed')
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) }
}
