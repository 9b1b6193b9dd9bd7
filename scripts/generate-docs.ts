/**
 * Makes the pages of docs/cli and docs/exit-codes.md from the tables of the command line.
 *   node scripts/generate-docs.ts           writes them
 *   node scripts/generate-docs.ts --check   says which are out of date (test/cli/docs.test.ts does the same)
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Command } from '../src/cli/command.ts'
import { COMMANDS } from '../src/cli/commands/all.ts'
import { EXIT_CODES } from '../src/cli/exit-codes.ts'
import { MOUNT_WORDS } from '../src/cli/mount-options.ts'
import { OPTIONS, type OptionDeclaration, type OptionName } from '../src/cli/options.ts'

const DOCS = fileURLToPath(new URL('../docs/', import.meta.url))
const MADE = '<!-- Made by scripts/generate-docs.ts; change the tables in src/cli instead. -->'

/** All generated pages: path below docs/ and text. */
export function generatedPages(): Map<string, string> {
  const pages = new Map<string, string>([
    ['cli/README.md', overviewPage()],
    ['exit-codes.md', exitCodesPage()],
  ])
  for (const command of COMMANDS) pages.set(`cli/${pageName(command)}.md`, commandPage(command))
  return pages
}

/** The generated pages whose file is missing, differs, or has no command any more. */
export function stalePages(): string[] {
  const pages = generatedPages()
  const stale = [...pages]
    .filter(([path, text]) => !existsSync(DOCS + path) || readFileSync(DOCS + path, 'utf8') !== text)
    .map(([path]) => path)
  const left = existsSync(`${DOCS}cli`) ? readdirSync(`${DOCS}cli`).map(file => `cli/${file}`) : []
  return [...stale, ...left.filter(path => !pages.has(path))]
}

function pageName(command: Command): string {
  return command.words.join('-') || 'mount'
}

function synopsis(command: Command): string {
  const words = [
    'sdmount',
    ...command.words,
    ...command.arguments.map(a => (a.required ? a.name.toUpperCase() : `[${a.name.toUpperCase()}]`)),
  ]
  return `${words.join(' ')}${command.options.length > 0 ? ' [options]' : ''}`
}

function overviewPage(): string {
  return [
    MADE,
    '# Commands',
    '',
    ...tableOf(
      ['command', 'does'],
      COMMANDS.map(c => [`[\`${synopsis(c).replace(' [options]', '')}\`](${pageName(c)}.md)`, c.summary]),
    ),
    '',
    'Each takes `--help`. `sdmount completion` prints a completion script for bash or zsh. What the exit codes mean: [exit codes](../exit-codes.md).',
    '',
  ].join('\n')
}

function commandPage(command: Command): string {
  const title = ['sdmount', ...command.words].join(' ')
  const lines = [MADE, `# ${title}`, '', `${capital(command.summary)}.`, '', '```', synopsis(command), '```', '', command.description, '']
  if (command.arguments.length > 0) {
    lines.push(
      '## Arguments',
      '',
      ...tableOf(
        ['argument', 'what'],
        command.arguments.map(a => [a.name.toUpperCase(), a.help]),
      ),
      '',
    )
  }
  if (command.options.length > 0) lines.push('## Options', '', ...tableOf(['option', 'what'], command.options.map(optionRow)), '')
  if (command.options.includes('option')) lines.push(...mountWords())
  lines.push('## Examples', '', '```sh', ...command.examples.flatMap(e => [`# ${e.does}`, e.line]), '```', '')
  return lines.join('\n')
}

function optionRow(name: OptionName): string[] {
  const o: OptionDeclaration = OPTIONS[name]
  const value = o.value ? ` ${o.value}` : ''
  const flags = [`\`--${name}${value}\``, ...(o.short ? [`\`-${o.short}${value}\``] : [])].join(', ')
  const more = [
    ...(o.choices ? [`One of ${o.choices.map(c => `\`${c}\``).join(', ')}.`] : []),
    ...(o.default === undefined ? [] : [`Default: \`${o.default}\`.`]),
    ...(o.environment ? [`Environment: \`${o.environment}\`.`] : []),
  ]
  return [flags, [`${o.help}.`, ...more].join(' ')]
}

function mountWords(): string[] {
  const row = (word: (typeof MOUNT_WORDS)[number]) => [
    word.words.map(w => `\`${w}${word.value ? `=${word.value}` : ''}\``).join(', '),
    word.help,
  ]
  return [
    '## Words after -o',
    '',
    ...tableOf(['word', 'what'], [...MOUNT_WORDS.map(row), ['`x-...`, `X-...`', 'for systemd and others; passed over']]),
    '',
    'Others are refused. Write `\\,` for a comma in a value. With `sdmount install-helper` the words work in fstab, too.',
    '',
  ]
}

function exitCodesPage(): string {
  return [
    MADE,
    '# Exit codes',
    '',
    'A number, once given, is never changed or used again.',
    '',
    ...tableOf(
      ['code', 'name', 'means'],
      Object.entries(EXIT_CODES).map(([name, { code, means }]) => [String(code), name, means]),
    ),
    '',
    'The daemon that `sdmount` starts in the background passes its own through: what it ended with is what `sdmount` ends with. `mount.fuse.sdmount` answers with the codes of mount(8): 0, 1 (usage), 8 (interrupted), 32 (everything else).',
    '',
  ].join('\n')
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)]
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

if (import.meta.main) {
  const stale = stalePages()
  if (process.argv.includes('--check')) {
    for (const path of stale) console.error(`docs/${path} is out of date: run node scripts/generate-docs.ts`)
    process.exitCode = stale.length > 0 ? 1 : 0
  } else {
    const pages = generatedPages()
    mkdirSync(`${DOCS}cli`, { recursive: true })
    for (const path of stale) {
      const text = pages.get(path)
      if (text === undefined) rmSync(DOCS + path)
      else writeFileSync(DOCS + path, text)
      console.log(`docs/${path}`)
    }
  }
}
