/** sdmount volume add, set: a bucket as a folder of the tree, and what is set about it. */
import { givenKeys, KEY_OPTIONS, saysKeys } from '../bucket-keys.ts'
import type { Command, Invocation } from '../command.ts'
import { CommandError } from '../exit-codes.ts'
import { askLibrary } from '../library-client.ts'
import { nameOfText } from '../names.ts'
import { parseTime } from '../quantities.ts'
import type { CloudVolumeSettings } from '../service/requests.ts'
import { printable } from '../terminal/terminal.ts'
import { libraryOf, required } from './arguments.ts'
import { ScanProgressLine } from './scan-progress.ts'
import { settingsLine, volumeForPrograms } from './volume.ts'

const SETTINGS = ['endpoint', 'region', 'address-style', 'ttl', 'write-mode', 'read-only', 'keep-clutter', 'assume'] as const

const add: Command = {
  words: ['volume', 'add'],
  summary: 'add a bucket to the tree',
  description: `Adds the bucket, or the part of it below a prefix, as a folder at the top of the tree. The bucket is tried first; what
can't be used isn't recorded. While the library is mounted the folder is there at once, and is listed in the background.

The keys come from the AWS configuration (environment, \`~/.aws\`, SSO, roles), each time that they are needed, so what is
in the environment has to be in the environment of the mount, too. Or they are kept in the library, sealed with its key:
typed on the terminal (\`--ask\`, or when there are none), from a file or a descriptor (\`--credentials-file\`), or as the
AWS configuration gives them now (\`--seal\`). There is no option that takes a key: everybody on the machine could read it.

What the server can do is found out by trying it on two small objects, which are removed again; \`volume list\` says what it
lacks. A key that may only read makes a volume that is read-only.`,
  arguments: [{ name: 'address', required: true, help: '`s3://BUCKET` or `s3://BUCKET/PREFIX`' }],
  options: ['library', 'name', ...SETTINGS, ...KEY_OPTIONS, 'wait', 'json'],
  examples: [
    { line: 'sdmount volume add s3://photos', does: 'as photos at the top of the tree, with the keys of the AWS configuration' },
    { line: 'sdmount volume add s3://photos/2024 --name Pictures --profile work', does: 'a part of it, with the keys of a profile' },
    {
      line: 'sdmount volume add s3://backup --endpoint https://minio.example:9000 --ask',
      does: 'on a server of your own; asks for the keys',
    },
    { line: 'pass s3/backup | sdmount volume add s3://backup --credentials-file -', does: 'keys from a password manager' },
  ],
  async run(invocation) {
    const { terminal, signal } = invocation
    const name = invocation.option('name')
    const settings = readSettings(invocation)
    const address = invocation.text('address') ?? ''
    if (!address.startsWith('s3://'))
      throw new CommandError('usage', `"${address}" is not a bucket: it should read s3://bucket or s3://bucket/folder`)
    const keys = await givenKeys(invocation)
    const progress = new ScanProgressLine(terminal)
    const added = await askLibrary({
      library: libraryOf(invocation),
      request: 'volume.add',
      arguments: { address, keys, settings, wait: invocation.option('wait'), ...(name === undefined ? {} : { name: nameOfText(name) }) },
      create: true,
      signal,
      update: update => progress.show(update),
    }).finally(() => progress.end())
    if (invocation.option('json')) {
      terminal.print(JSON.stringify({ ...volumeForPrograms(added), mounted: added.mounted }))
      return 'ok'
    }
    terminal.print(`added ${printable(added.name)}: ${added.address}${added.mounted ? '' : ' (in the tree when the library is mounted)'}`)
    if (added.readOnly && !settings.readOnly) terminal.remark('note: the keys may only read: the volume is read-only')
    for (const line of added.readOnly ? [] : added.lacks) terminal.remark(`note: this server can't promise everything: ${line}`)
    if ('chain' in keys && invocation.environment.AWS_ACCESS_KEY_ID) {
      terminal.remark("note: the keys are in this command's environment: mount with them in it, or keep them in the library with --seal")
    }
    return 'ok'
  },
}

const set: Command = {
  words: ['volume', 'set'],
  summary: 'change what is set about a cloud volume, for example its keys',
  description: `Changes what is said and leaves the rest. Where keys, server or guarantees change, the bucket is tried first. What waits
to be uploaded stays, and goes on with the new keys. \`--writable\` takes \`--read-only\` back.`,
  arguments: [{ name: 'name', required: true, help: "the volume's name, as `volume list` shows it" }],
  options: ['library', ...SETTINGS, 'writable', ...KEY_OPTIONS, 'json'],
  examples: [
    { line: 'sdmount volume set photos --ask', does: 'other keys' },
    { line: 'sdmount volume set photos --ttl 10m --write-mode through', does: 'other settings' },
  ],
  async run(invocation) {
    const { terminal, signal } = invocation
    const settings = readSettings(invocation)
    const writable = invocation.option('writable')
    if (writable && settings.readOnly) throw new CommandError('usage', 'say --read-only or --writable')
    const keys = saysKeys(invocation) ? await givenKeys(invocation) : undefined
    const changed = await askLibrary({
      library: libraryOf(invocation),
      request: 'volume.set',
      arguments: {
        name: required(invocation, 'name'),
        settings: writable ? { ...settings, readOnly: false } : settings,
        ...(keys === undefined ? {} : { keys }),
      },
      create: false,
      signal,
    })
    if (invocation.option('json')) terminal.print(JSON.stringify(volumeForPrograms(changed)))
    else terminal.print(`${printable(changed.name)}: ${settingsLine(changed)}`)
    return 'ok'
  },
}

export const volumeAddCommands: readonly Command[] = [add, set]

function readSettings(invocation: Invocation): CloudVolumeSettings {
  const ttl = invocation.option('ttl')
  const style = invocation.option('address-style')
  const assume = invocation.option('assume').flatMap(list => list.split(','))
  const settings: Record<string, unknown> = {
    endpoint: invocation.option('endpoint'),
    region: invocation.option('region'),
    profile: invocation.option('profile'),
    pathStyle: style === undefined || style === 'auto' ? undefined : style === 'path',
    ttlMs: ttl === undefined ? undefined : parseTime(ttl, 'ttl'),
    writeMode: invocation.option('write-mode'),
    readOnly: invocation.option('read-only') || undefined,
    litter: invocation.option('keep-clutter') || undefined,
    assume: assume.length === 0 ? undefined : Object.fromEntries(assume.map(assumption)),
  }
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
}

function assumption(text: string): [string, string] {
  const [name, value, ...more] = text.split('=')
  if (!name || !value || more.length > 0) throw new CommandError('usage', `--assume ${text}: say it as WHAT=yes or WHAT=no`)
  return [name, value]
}
