/**
 * Tries a bucket before anything is recorded of it, and says in one line what is wrong with it.
 *
 * Owns: the mapping from what a store says to exit codes and words; what the user may say of a server himself (`--assume`).
 * Must stay true: no line holds a key; a bucket that is only to be read is not written to.
 */
import { isTransient } from '../../backends/errors.ts'
import { connectS3, type S3Location } from '../../backends/s3/connect.ts'
import type { CredentialsProvider } from '../../backends/s3/credentials.ts'
import { CAUTIOUS_TRAITS, readTraits, type S3Traits } from '../../backends/s3/traits.ts'
import { describeError, errorKind, FsError } from '../../errors.ts'
import { CommandError } from '../exit-codes.ts'
import { addressOf } from './cloud-record.ts'

export interface BucketTrial {
  readonly location: S3Location
  readonly endpoint?: string | undefined
  readonly region?: string | undefined
  readonly pathStyle?: boolean | undefined
  readonly readOnly: boolean
  readonly assume: Readonly<Record<string, string>>
  readonly keys: CredentialsProvider
}

/** Answers the region of the bucket and what its server can do. Throws CommandError with the line for the user. */
export async function tryBucket(trial: BucketTrial, signal: AbortSignal): Promise<{ readonly region: string; readonly traits: S3Traits }> {
  const { location, endpoint, region, pathStyle, keys } = trial
  const assumed = readAssumptions(trial.assume)
  try {
    const { store, settings } = await connectS3({
      location,
      endpoint,
      region,
      pathStyle,
      credentials: keys,
      signal,
      traits: trial.readOnly ? { ...CAUTIOUS_TRAITS, writable: false } : undefined,
    })
    try {
      if (trial.readOnly) await store.check({ signal })
    } finally {
      store.close()
    }
    return { region: settings.region, traits: readTraits({ ...settings.traits, ...assumed }) }
  } catch (error) {
    throw signal.aborted ? new CommandError('interrupted', 'interrupted') : explained(error, trial)
  }
}

function explained(error: unknown, { location, endpoint }: BucketTrial): unknown {
  if (!(error instanceof FsError)) return error
  const where = `${addressOf(location)}${endpoint === undefined ? '' : ` at ${endpoint}`}`
  const line = (exit: 'credentials' | 'volume' | 'unreachable' | 'usage', text: string) => new CommandError(exit, `${where}: ${text}`)
  switch (errorKind(error)) {
    case 'access-denied':
      return line('credentials', describeCause(error))
    case 'invalid':
      return new CommandError('usage', error.message)
    case 'offline':
      // What doesn't pass by itself: the server answered, and it is the bucket that isn't there.
      return line(isTransient(error) ? 'unreachable' : 'volume', describeCause(error))
    case 'timed-out':
    case 'try-again':
      return line('unreachable', describeCause(error))
    default:
      return line('volume', describeCause(error))
  }
}

/** Without the words for developers that say which call it was. */
function describeCause(error: FsError): string {
  return error.cause === undefined ? error.message : `${error.message}: ${describeError(error.cause)}`
}

/** `putIfMatch=no,versions=yes` as traits. Throws CommandError 'usage' for what a server is not asked about. */
export function readAssumptions(assume: Readonly<Record<string, string>>): Partial<S3Traits> {
  const traits: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(assume)) {
    if (!Object.hasOwn(CAUTIOUS_TRAITS, name))
      throw new CommandError('usage', `--assume ${name}: say one of ${Object.keys(CAUTIOUS_TRAITS).join(', ')}`)
    if (name === 'putIfMatch' && value === 'unquoted') traits[name] = 'unquoted'
    else if (value !== 'yes' && value !== 'no') throw new CommandError('usage', `--assume ${name}=${value}: say yes or no`)
    else traits[name] = name === 'putIfMatch' ? (value === 'yes' ? 'quoted' : 'no') : value === 'yes'
  }
  return traits
}
