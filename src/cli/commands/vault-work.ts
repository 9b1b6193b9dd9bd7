/** sdmount vault info, check, gc, snapshot, snapshots, prune: what is in a vault, and what was. */

import type { KeepRules } from '../../vfs/volumes/vault/snapshots/keep-rules.ts'
import type { SnapshotInfo } from '../../vfs/volumes/vault/vault.ts'
import type { Command, Invocation } from '../command.ts'
import { CommandError } from '../exit-codes.ts'
import type { OptionName } from '../options.ts'
import { PASSPHRASE_OPTIONS } from '../passphrase-options.ts'
import type { VaultProgress } from '../service/vault-requests.ts'
import { bytes, count } from '../terminal/format.ts'
import { Progress } from '../terminal/progress.ts'
import { table } from '../terminal/table.ts'
import { printable } from '../terminal/terminal.ts'
import { required } from './arguments.ts'
import { askInVault, secretGiver } from './vault-asking.ts'

const NAME = { name: 'name', required: true, help: "the vault's name, as `vault list` shows it" } as const
const ASKED = 'Of a vault that is closed the passphrase is asked for; it is open for the time of the command, and not in the tree.'
const DAMAGE_SHOWN = 100

const RULES = [
  ['keep-last', 'last'],
  ['keep-hourly', 'hourly'],
  ['keep-daily', 'daily'],
  ['keep-weekly', 'weekly'],
  ['keep-monthly', 'monthly'],
  ['keep-yearly', 'yearly'],
] as const satisfies readonly (readonly [OptionName, keyof KeepRules])[]

const info: Command = {
  words: ['vault', 'info'],
  summary: 'show sizes, savings and state of a vault',
  description: `Shows how many files there are, how much they hold, what is stored for that, and what deduplication and compression save.

${ASKED}`,
  arguments: [NAME],
  options: ['library', ...PASSPHRASE_OPTIONS, 'json'],
  examples: [{ line: 'sdmount vault info Private', does: 'numbers' }],
  async run(invocation) {
    const name = required(invocation, 'name')
    const row = await askInVault(invocation, await secretGiver(invocation), name, { request: 'vault.info', arguments: { name } })
    const { terminal } = invocation
    const { info: numbers } = row
    if (invocation.option('json')) {
      terminal.print(JSON.stringify({ name: printable(row.name), path: printable(row.path), vaultId: row.vaultId, ...numbers }))
      return 'ok'
    }
    const lines = [
      ['folder', printable(row.path)],
      ['vault id', row.vaultId],
      ['state', row.state],
      ['files', `${count(numbers.nodes)} (files, folders, links), ${count(numbers.snapshots)} snapshots`],
      ['contents', bytes(numbers.contentBytes)],
      ['unique', `${bytes(numbers.uniqueBytes)} without duplicates`],
      ['stored', `${bytes(numbers.storedBytes)} in ${count(numbers.chunks)} chunks; with all else ${bytes(numbers.totalBytes)} on disk`],
      ['commits', count(numbers.generation)],
    ]
    const width = Math.max(...lines.map(([what]) => what!.length))
    for (const [what, value] of lines) terminal.print(`${what!.padEnd(width)}  ${value}`)
    return 'ok'
  },
}

const check: Command = {
  words: ['vault', 'check'],
  summary: 'read a whole vault and list what is damaged',
  description: `Reads and authenticates every stored byte and lists what is damaged, by file. With \`--repair\` what is lost is dropped, and said,
the rest is whole again; a header or copy that is damaged is written anew from the good one. Exit code 26 where damage was found.

${ASKED}`,
  arguments: [NAME],
  options: ['library', 'repair', ...PASSPHRASE_OPTIONS, 'json'],
  examples: [
    { line: 'sdmount vault check Private', does: 'changes nothing' },
    { line: 'sdmount vault check Private --repair', does: 'drops what is lost' },
  ],
  async run(invocation) {
    const { terminal } = invocation
    const name = required(invocation, 'name')
    const repair = invocation.option('repair')
    const { damage, mended } = await withProgress(invocation, 'vault.check', { name, repair })
    if (invocation.option('json')) {
      terminal.print(
        JSON.stringify({
          damage: damage.map(({ message, paths, repaired }) => ({ message, paths: paths.map(printable), repaired })),
          header: mended,
        }),
      )
    } else {
      for (const line of mended) terminal.print(line)
      for (const { message, paths, repaired } of damage.slice(0, DAMAGE_SHOWN)) {
        terminal.print(repaired === undefined ? message : `${message}: ${repaired}`)
        for (const path of paths) terminal.print(`  ${printable(path)}`)
      }
      if (damage.length > DAMAGE_SHOWN) terminal.print(`and ${damage.length - DAMAGE_SHOWN} more, see --json`)
      if (damage.length === 0 && mended.length === 0) terminal.print(`${printable(name)} is whole`)
      else if (repair) terminal.print(`${printable(name)} was repaired: what is listed is lost, the rest is whole`)
    }
    return damage.length > 0 || (mended.length > 0 && !repair) ? 'vault-damage' : 'ok'
  },
}

const gc: Command = {
  words: ['vault', 'gc'],
  summary: 'free the space of what was deleted',
  description: `Frees what no file and no snapshot holds any more. It happens by itself in the background of an open vault; this does it now, and all
of it.

${ASKED}`,
  arguments: [NAME],
  options: ['library', ...PASSPHRASE_OPTIONS],
  examples: [{ line: 'sdmount vault gc Private', does: 'after much was deleted, or snapshots were pruned' }],
  async run(invocation) {
    const { freedBytes } = await withProgress(invocation, 'vault.gc', { name: required(invocation, 'name') })
    invocation.terminal.print(`freed ${bytes(freedBytes)}`)
    return 'ok'
  },
}

const snapshot: Command = {
  words: ['vault', 'snapshot'],
  summary: 'keep what is in a vault now, to read later',
  description: `A snapshot is the whole vault as it is at this moment, read-only under \`.snapshots/\` in its folder. It costs next to nothing: what
changes afterwards takes space, what stays the same is stored once. Copy out of it to restore.

${ASKED}`,
  arguments: [NAME, { name: 'label', required: false, help: 'added to its name, which is the time' }],
  options: ['library', ...PASSPHRASE_OPTIONS],
  examples: [{ line: 'sdmount vault snapshot Private before-the-move', does: 'then it is in ~/Spacedrive/Private/.snapshots' }],
  async run(invocation) {
    const name = required(invocation, 'name')
    const label = invocation.text('label')
    const made = await askInVault(invocation, await secretGiver(invocation), name, {
      request: 'vault.snapshot',
      arguments: { name, ...(label === undefined ? {} : { label }) },
    })
    invocation.terminal.print(`snapshot ${printable(made.name)}`)
    return 'ok'
  },
}

const snapshots: Command = {
  words: ['vault', 'snapshots'],
  summary: 'list the snapshots of a vault',
  description: `Lists the snapshots, oldest first.

${ASKED}`,
  arguments: [NAME],
  options: ['library', ...PASSPHRASE_OPTIONS, 'json'],
  examples: [{ line: 'sdmount vault snapshots Private', does: 'names and times' }],
  async run(invocation) {
    const name = required(invocation, 'name')
    const answer = await askInVault(invocation, await secretGiver(invocation), name, { request: 'vault.snapshots', arguments: { name } })
    if (invocation.option('json'))
      invocation.terminal.print(JSON.stringify(answer.snapshots.map(one => ({ ...one, name: printable(one.name) }))))
    else {
      for (const line of table(
        ['SNAPSHOT', 'MADE'],
        answer.snapshots.map(one => [printable(one.name), timeOf(one)]),
      ))
        invocation.terminal.print(line)
    }
    return 'ok'
  },
}

const prune: Command = {
  words: ['vault', 'prune'],
  summary: 'drop old snapshots by rules',
  description: `Keeps the snapshots that a rule asks for and drops the others: \`--keep-daily 7\` keeps the last one of each of the last seven days that
have one. Rules add up. At least one is needed. What only dropped snapshots held is freed by \`vault gc\`, or by itself later.

${ASKED}`,
  arguments: [NAME],
  options: ['library', ...RULES.map(([option]) => option), ...PASSPHRASE_OPTIONS],
  examples: [{ line: 'sdmount vault prune Private --keep-daily 7 --keep-weekly 4 --keep-monthly 12', does: 'a year, thinner and thinner' }],
  async run(invocation) {
    const name = required(invocation, 'name')
    const rules = rulesOf(invocation)
    const answer = await askInVault(invocation, await secretGiver(invocation), name, { request: 'vault.prune', arguments: { name, rules } })
    for (const one of answer.removed) invocation.terminal.print(`dropped ${printable(one.name)}`)
    invocation.terminal.print(`${answer.kept.length} kept, ${answer.removed.length} dropped`)
    return 'ok'
  },
}

export const vaultWorkCommands: readonly Command[] = [check, info, gc, snapshot, snapshots, prune]

async function withProgress<N extends 'vault.check' | 'vault.gc'>(
  invocation: Invocation,
  request: N,
  given: Parameters<typeof askInVault<N>>[3]['arguments'],
) {
  const progress = new Progress(invocation.terminal)
  try {
    return await askInVault<N>(invocation, await secretGiver(invocation), given.name, {
      request,
      arguments: given,
      update: ({ what, fraction }: VaultProgress) => progress.show(what, fraction),
    })
  } finally {
    progress.end()
  }
}

function rulesOf(invocation: Invocation): KeepRules {
  const rules = RULES.flatMap(([option, rule]) => {
    const text = invocation.option(option)
    if (text === undefined) return []
    if (!/^\d{1,6}$/.test(text)) throw new CommandError('usage', `--${option} ${text}: say how many`)
    return [[rule, Number(text)] as const]
  })
  if (rules.length === 0) throw new CommandError('usage', 'say what to keep, for example --keep-daily 7')
  return Object.fromEntries(rules)
}

function timeOf({ timeMs }: SnapshotInfo): string {
  return new Date(timeMs).toISOString().replace('T', ' ').slice(0, 19)
}
