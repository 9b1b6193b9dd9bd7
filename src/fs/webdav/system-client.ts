/**
 * The system's own WebDAV client: how each platform maps the tree as a drive or mounts it, and undoes that.
 *
 * Owns: the exact commands, as data, and their running. Must stay true: a password is never in a command's arguments
 * where the platform has another way (Windows has none: there it is one made for this mapping, good on this machine
 * only); files that hold one are 0600 in a directory of 0700 and go when the step is over.
 * It doesn't: start the server, or choose a mountpoint.
 */
import { spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type ClientPlatform = 'win32' | 'darwin' | 'linux'

export interface Mapping {
  /** Of the server's root, as the client shall call it. */
  readonly url: string
  readonly user: string
  readonly password: string
  /** `S:` on Windows; a directory elsewhere. On Linux without root the desktop chooses the place and this is ignored. */
  readonly target: string
  /** What a person sees as the name of the drive. */
  readonly label: string
}

/** One program to run. */
export interface Step {
  readonly command: string
  readonly args: readonly string[]
  /** Standard input. */
  readonly input?: string
  /** Bytes of a file that the program gets as this descriptor. */
  readonly descriptor?: { readonly number: number; readonly bytes: Buffer }
  /** Files that it reads, by name; `{directory}` in arguments and contents is where they are. */
  readonly files?: Readonly<Record<string, string>>
  /** It may fail: what it is for may be there already. */
  readonly mayFail?: boolean
}

/** The steps that make the drive appear. */
export function mapSteps(platform: ClientPlatform, mapping: Mapping, isRoot: boolean): Step[] {
  const { url, user, password, target, label } = mapping
  switch (platform) {
    case 'win32':
      return [
        // Started by hand on most machines; refused to ordinary users, but then the next step often starts it.
        { command: 'sc.exe', args: ['start', 'WebClient'], mayFail: true },
        { command: 'net.exe', args: ['use', target, url, password, `/user:${user}`, '/persistent:no'] },
      ]
    case 'darwin':
      return [
        {
          command: '/sbin/mount_webdav',
          args: ['-S', '-a', '3', '-v', label, url, target],
          descriptor: { number: 3, bytes: Buffer.concat([lengthPrefixed(user), lengthPrefixed(password)]) },
        },
      ]
    case 'linux':
      return isRoot ? [davfsStep(mapping)] : [{ command: 'gio', args: ['mount', davUrl(url)], input: `${user}\n${password}\n` }]
  }
}

/** The steps that take it away; with `force` also while programs use it. */
export function unmapSteps(
  platform: ClientPlatform,
  { url, target }: Pick<Mapping, 'url' | 'target'>,
  isRoot: boolean,
  force = false,
): Step[] {
  switch (platform) {
    case 'win32':
      return [{ command: 'net.exe', args: ['use', target, '/delete', '/yes'] }]
    case 'darwin':
      return [{ command: '/sbin/umount', args: [...(force ? ['-f'] : []), target] }]
    case 'linux':
      // davfs2's own helper would wait for the programs.
      return isRoot
        ? [{ command: 'umount', args: [...(force ? ['-i', '-l'] : []), target] }]
        : [{ command: 'gio', args: ['mount', '--unmount', ...(force ? ['--force'] : []), davUrl(url)] }]
  }
}

/** A program that tells whether the drive is there, and how it says that it isn't. */
export interface Look {
  readonly step: Step
  /** The drive is gone for sure. */
  readonly saysGone: (outcome: StepOutcome) => boolean
}

/** How to see that somebody else took the drive away: Explorer's "Disconnect", Finder's "Eject", umount(8). */
export function lookStep(platform: ClientPlatform, { url, target }: Pick<Mapping, 'url' | 'target'>, isRoot: boolean): Look {
  const lists = (step: Step, text: string): Look => ({ step, saysGone: ({ code, output }) => code === 0 && !output.includes(text) })
  switch (platform) {
    case 'win32':
      return {
        step: { command: 'net.exe', args: ['use', target], mayFail: true },
        saysGone: ({ code }) => code !== 0 && code !== NOT_INSTALLED,
      }
    case 'darwin':
      return lists({ command: '/sbin/mount', args: [], mayFail: true }, ` on ${target} (`)
    case 'linux': {
      if (!isRoot) return lists({ command: 'gio', args: ['mount', '--list'], mayFail: true }, davUrl(url))
      const step: Step = { command: 'findmnt', args: ['--noheadings', '--output', 'SOURCE', '--mountpoint', target], mayFail: true }
      return { step, saysGone: ({ code, output }) => code === 1 && output.trim() === '' }
    }
  }
}

/** What mount_webdav and davfs2 need to be told of a client that caches for others; davfs2's own files are private. */
function davfsStep({ url, user, password, target }: Mapping): Step {
  const settings = ['use_locks 1', 'ask_auth 0', 'secrets {directory}/secrets', 'delay_upload 0']
  return {
    command: 'mount.davfs',
    args: ['-o', 'conf={directory}/davfs2.conf', url, target],
    files: { 'davfs2.conf': `${settings.join('\n')}\n`, secrets: `"${url}" "${quoted(user)}" "${quoted(password)}"\n` },
  }
}

function quoted(text: string): string {
  return text.replace(/["\\]/g, '\\$&')
}

/** mount_webdav reads each as a length in network order and the bytes. */
function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

function davUrl(url: string): string {
  return url.replace(/^http/, 'dav')
}

// --- what Windows limits ---

const PARAMETERS = 'HKLM\\SYSTEM\\CurrentControlSet\\Services\\WebClient\\Parameters'
const GREATEST_FILE = 0xffff_ffff
const WANTED_LISTING = 100_000_000

export const WINDOWS_LIMITS_QUERY: Step = { command: 'reg.exe', args: ['query', PARAMETERS], mayFail: true }

/** What a person on Windows should know once, from the output of `WINDOWS_LIMITS_QUERY`; each with the line that mends it. */
export function windowsAdvice(registry: string): string[] {
  const value = (name: string, absent: number) => {
    const digits = new RegExp(`\\b${name}\\s+REG_DWORD\\s+0x([0-9a-f]+)`, 'i').exec(registry)?.[1]
    return digits === undefined ? absent : Number.parseInt(digits, 16)
  }
  const set = (name: string, number: number) => `reg add ${PARAMETERS} /v ${name} /t REG_DWORD /d ${number} /f`
  const advice: string[] = []
  const fileBytes = value('FileSizeLimitInBytes', 50_000_000)
  if (fileBytes < GREATEST_FILE) {
    advice.push(
      `Windows opens files of up to ${Math.floor(fileBytes / 1e6)} MB on this drive. To raise that to 4 GB, the most it can, run as administrator:`,
      `  ${set('FileSizeLimitInBytes', GREATEST_FILE)}`,
    )
  } else advice.push('Windows opens files of up to 4 GB on such a drive.')
  if (value('FileAttributesLimitInBytes', 1_000_000) < WANTED_LISTING) {
    advice.push('Folders of more than about 3,000 files need, as administrator:', `  ${set('FileAttributesLimitInBytes', WANTED_LISTING)}`)
  }
  if (advice.length > 1) advice.push('Then restart the service:', '  net stop WebClient & net start WebClient')
  advice.push('The free space that Windows shows for the drive is that of C:.')
  advice.push('Passwords without TLS work by Digest only, which Windows does by itself.')
  return advice
}

// --- running ---

export interface StepOutcome {
  readonly code: number
  readonly output: string
}

export type RunStep = (step: Step, signal: AbortSignal) => Promise<StepOutcome>

/** A step that must not fail failed: the message holds what the program said. */
export class StepFailed extends Error {
  readonly step: Step

  constructor(step: Step, output: string) {
    super(`${step.command} failed: ${output.trim().slice(0, 500) || 'it said nothing'}`)
    this.step = step
  }
}

/** Runs the steps in order; the output of all. Ends at the first that must not fail and did. */
export async function runSteps(steps: readonly Step[], signal: AbortSignal, run: RunStep = runStep): Promise<string> {
  let output = ''
  for (const step of steps) {
    const outcome = await run(step, signal)
    output += outcome.output
    if (outcome.code !== 0 && !step.mayFail) throw new StepFailed(step, outcome.output)
  }
  return output
}

const STEP_TIMEOUT_MS = 60_000
const OUTPUT_LIMIT = 64 * 1024
const NOT_INSTALLED = 127

/** Runs one step as a process, with its private files for as long as it takes. */
export async function runStep(step: Step, signal: AbortSignal): Promise<StepOutcome> {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-'))
  const placed = (text: string) => text.replaceAll('{directory}', directory)
  let descriptor: number | undefined
  try {
    for (const [name, content] of Object.entries(step.files ?? {})) writeFileSync(join(directory, name), placed(content), { mode: 0o600 })
    if (step.descriptor) {
      const path = join(directory, 'descriptor')
      writeFileSync(path, step.descriptor.bytes, { mode: 0o600 })
      descriptor = openSync(path, 'r+')
    }
    return await runProcess(step, step.args.map(placed), descriptor, AbortSignal.any([signal, AbortSignal.timeout(STEP_TIMEOUT_MS)]))
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
    rmSync(directory, { recursive: true, force: true })
  }
}

function runProcess(step: Step, args: readonly string[], descriptor: number | undefined, signal: AbortSignal): Promise<StepOutcome> {
  return new Promise((resolve, reject) => {
    const stdio: ('pipe' | 'ignore' | number)[] = ['pipe', 'pipe', 'pipe']
    if (step.descriptor && descriptor !== undefined) {
      for (let i = 3; i < step.descriptor.number; i++) stdio.push('ignore')
      stdio.push(descriptor)
    }
    const child = spawn(step.command, args, { stdio, signal, windowsHide: true })
    let output = ''
    const take = (chunk: Buffer) => {
      if (output.length < OUTPUT_LIMIT) output += chunk.toString('utf8')
    }
    child.stdout?.on('data', take)
    child.stderr?.on('data', take)
    child.on('error', error => {
      // A program that isn't installed failed, like any other way of failing.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') resolve({ code: NOT_INSTALLED, output: `${step.command} is not installed` })
      else reject(error)
    })
    child.on('close', code => resolve({ code: code ?? 1, output }))
    child.stdin?.on('error', () => {})
    child.stdin?.end(step.input ?? '')
  })
}
