/**
 * PROPPATCH: all of the changes or none.
 *
 * Owns: the order of instructions, and which properties may be changed. Must stay true: nothing is written before every
 * instruction was found possible; then live properties (they can fail) go first, stored ones after.
 */
import type { PropertyName } from '../../index/property-store.ts'
import type { AttributeChanges, Attributes } from '../../vfs/contract.ts'
import { readBody } from './body.ts'
import { parseHttpDate } from './dates.ts'
import type { Exchange } from './exchange.ts'
import { EXECUTABLE, isLive } from './live-properties.ts'
import { checkConditions, checkLocks } from './lock-rules.ts'
import { MULTISTATUS_CLOSE, MULTISTATUS_OPEN, nameElement, propertyName, propstat, split } from './propfind-body.ts'
import { sendXml } from './respond.ts'
import { Refusal } from './status.ts'
import { type LiveChange, WIN32_NAMESPACE, win32Change } from './win32.ts'
import { childElements, isDav, languageOf, readXml, textContent, type XmlElement } from './xml-read.ts'
import { escapeText, writeElement } from './xml-write.ts'

interface Instruction {
  readonly name: PropertyName
  /** undefined: removed. */
  readonly element: XmlElement | undefined
  /** The xml:lang around the property. */
  readonly language: string | undefined
}

/** What one instruction comes to: a change, or why it can't be. */
type Outcome =
  | { readonly status: 200; readonly live?: LiveChange; readonly stored?: string | undefined }
  | { readonly status: 403 | 409 | 507 }

export async function proppatch(x: Exchange): Promise<void> {
  const instructions = readInstructions(await readBody(x))
  const found = await x.walk.resolve(x.target.path)
  await checkConditions(x, found)
  if (found.kind !== 'found') throw new Refusal(404, 'not found')
  checkLocks(x, [{ path: found.path, what: 'node', entry: false }])
  const { attributes } = found
  const outcomes = instructions.map(instruction => outcomeOf(x, instruction, attributes))
  const { live, stored } = collect(instructions, outcomes)
  const possible = outcomes.every(({ status }) => status === 200)
  const fits = possible && (await fitsIn(x, attributes, stored))
  if (fits) {
    if (Object.keys(live).length > 0) await x.service.vfs.setattr(x.context, attributes.ino, live)
    if (stored.size > 0) await x.service.properties.change(attributes.ino, stored)
  }
  await x.settled()
  const statuses = outcomes.map(({ status }) => (fits ? 200 : possible ? 507 : status === 200 ? 424 : status))
  sendXml(x.response, 207, report(x, instructions, statuses, found.attributes))
}

function readInstructions(body: Buffer): Instruction[] {
  const root = readXml(body)
  if (!isDav(root, 'propertyupdate')) throw new Refusal(400, 'the body is no propertyupdate')
  const instructions: Instruction[] = []
  for (const block of childElements(root)) {
    if (!isDav(block, 'set') && !isDav(block, 'remove')) continue
    for (const prop of childElements(block, 'prop')) {
      const language = languageOf(prop) ?? languageOf(block) ?? languageOf(root)
      for (const element of childElements(prop)) {
        instructions.push({ name: propertyName(element), element: isDav(block, 'set') ? element : undefined, language })
      }
    }
  }
  if (instructions.length === 0) throw new Refusal(400, 'the propertyupdate changes nothing')
  return instructions
}

function outcomeOf(x: Exchange, { name, element, language }: Instruction, current: Attributes): Outcome {
  const [namespace, local] = split(name)
  if (namespace === WIN32_NAMESPACE && isLive(name)) return liveOutcome(element && win32Change(local, textContent(element), current))
  if (name === EXECUTABLE) return liveOutcome(element && executableChange(textContent(element).trim(), current))
  // What rclone sends instead of the protected getlastmodified.
  if (name === '{DAV:}lastmodified') return liveOutcome(element && modifiedChange(textContent(element).trim()))
  if (namespace === 'DAV:') return { status: 403 }
  if (!element) return { status: 200, stored: undefined }
  const text = writeElement(element, language)
  return Buffer.byteLength(text) > x.service.limits.propertyBytes ? { status: 507 } : { status: 200, stored: text }
}

function liveOutcome(change: LiveChange | undefined): Outcome {
  return change ? { status: 200, live: change } : { status: 409 }
}

function executableChange(value: string, current: Attributes): LiveChange | undefined {
  const mode = current.mode & 0o7777
  if (value === 'F') return { attributes: { mode: mode & ~0o111 } }
  // Executable for those who may read it.
  return value === 'T' ? { attributes: { mode: mode | ((mode & 0o444) >> 2) } } : undefined
}

function modifiedChange(value: string): LiveChange | undefined {
  const sec = /^\d{1,11}$/.test(value) ? Number(value) : parseHttpDate(value)
  return sec === undefined ? undefined : { attributes: { mtime: { sec, nsec: 0 } } }
}

/** All changes together, the later over the earlier. */
function collect(instructions: readonly Instruction[], outcomes: readonly Outcome[]) {
  const live: { -readonly [K in keyof AttributeChanges]: AttributeChanges[K] } = {}
  const stored = new Map<PropertyName, string | undefined>()
  for (const [i, outcome] of outcomes.entries()) {
    if (outcome.status !== 200) continue
    if (!outcome.live) {
      stored.set(instructions[i]!.name, outcome.stored)
      continue
    }
    Object.assign(live, outcome.live.attributes)
    if (outcome.live.stored) stored.set(...outcome.live.stored)
  }
  return { live, stored }
}

/** Whether the node's properties stay within their bound. */
async function fitsIn(x: Exchange, { ino }: Attributes, changes: ReadonlyMap<PropertyName, string | undefined>): Promise<boolean> {
  let bytes = 0
  const now = (await x.service.properties.read([ino])).get(ino) ?? new Map<PropertyName, string>()
  for (const [name, value] of now) if (!changes.has(name)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value)
  for (const [name, value] of changes) if (value !== undefined) bytes += Buffer.byteLength(name) + Buffer.byteLength(value)
  return bytes <= x.service.limits.propertiesBytes
}

function report(x: Exchange, instructions: readonly Instruction[], statuses: readonly number[], { mode }: Attributes): string {
  const byStatus = new Map<number, Set<PropertyName>>()
  for (const [i, status] of statuses.entries()) {
    const names = byStatus.get(status) ?? new Set()
    byStatus.set(status, names.add(instructions[i]!.name))
  }
  let content = ''
  for (const [status, names] of byStatus) {
    const extra = status === 403 ? '<D:error><D:cannot-modify-protected-property/></D:error>' : ''
    content += propstat([...names].map(nameElement).join(''), status, extra)
  }
  const href = escapeText(x.href(x.target.path, (mode & 0o170000) === 0o040000))
  return `${MULTISTATUS_OPEN}<D:response><D:href>${href}</D:href>${content}</D:response>${MULTISTATUS_CLOSE}`
}
