/** sdmount index verify: compares the index with the disk. */
import type { Command } from '../command.ts'
import { askLibrary } from '../library-client.ts'
import { resolveLibrary } from '../paths.ts'
import type { VerifyUpdate } from '../service/requests.ts'
import { count } from '../terminal/format.ts'
import { Progress } from '../terminal/progress.ts'
import { printable } from '../terminal/terminal.ts'

const verify: Command = {
  words: ['index', 'verify'],
  summary: 'compare the index with the disk and print the differences',
  description: `Walks the locations on the disk and the index beside them, and prints each difference in names and attributes. What
differs is looked at again a moment later, since a change made beside the mount takes up to a second to arrive. It
changes nothing; \`location rescan\` mends what it finds. While the library isn't mounted nothing follows changes, so
differences are to be expected then. It ends with exit code 13 when there are differences.`,
  arguments: [{ name: 'name', required: false, help: 'one location; by default all' }],
  options: ['library', 'json'],
  examples: [
    { line: 'sdmount index verify', does: 'all locations' },
    { line: 'sdmount index verify Music --json', does: 'one location; a line of JSON for each difference, then one with the counts' },
  ],
  async run(invocation) {
    const { terminal } = invocation
    const json = invocation.option('json')
    const name = invocation.bytes('name')
    const progress = new Progress(terminal)
    let skipped = 0
    const update = (value: VerifyUpdate) => {
      if ('scanning' in value) {
        progress.show(`waiting for the scan of ${printable(value.location)}: ${count(value.scanning)} entries`)
        return
      }
      if ('checked' in value) {
        progress.show(`checking ${printable(value.location)}: ${count(value.checked)} entries`)
        return
      }
      progress.end()
      if ('skipped' in value) {
        skipped++
        terminal.remark(`skipped ${printable(value.skipped)}: ${value.reason}`)
        return
      }
      const d = value.difference
      const place = { location: printable(d.location), path: printable(d.path) }
      if (json) terminal.print(JSON.stringify({ ...place, kind: d.kind, detail: d.detail }))
      else terminal.print(`${place.location}/${place.path}: ${d.kind}${d.detail ? `: ${d.detail}` : ''}`)
    }
    const { checked, differences } = await askLibrary({
      library: resolveLibrary(invocation.option('library'), invocation.environment),
      request: 'index.verify',
      arguments: name === undefined ? {} : { name },
      create: false,
      signal: invocation.signal,
      update,
    })
    progress.end()
    if (json) terminal.print(JSON.stringify({ checked, differences, skipped }))
    else terminal.print(`${count(checked)} entries checked, ${differences === 0 ? 'no differences' : `${count(differences)} differences`}`)
    return differences === 0 ? 'ok' : 'differences'
  },
}

export const indexCommands: readonly Command[] = [verify]
