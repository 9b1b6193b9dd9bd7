/** The pages under docs/ that are made from the tables say what the tables say. */
import test from 'ava'
import { generatedPages, stalePages } from '../../scripts/generate-docs.ts'
import { COMMANDS } from '../../src/cli/commands/all.ts'

test('the generated pages are up to date', t => {
  t.deepEqual(stalePages(), [], 'run node scripts/generate-docs.ts')
})

test('every verb has a page with an example', t => {
  for (const command of COMMANDS) {
    const page = generatedPages().get(`cli/${command.words.join('-') || 'mount'}.md`)
    t.truthy(page)
    t.true(command.examples.length > 0 && page!.includes(command.examples[0]!.line))
  }
})
