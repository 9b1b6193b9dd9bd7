/**
 * The If header of RFC 4918, section 10.4.
 *
 * Owns: its grammar and its evaluation. Pure. Must stay true: malformed input is refused with 400 and never half
 * understood; the work is linear in the header's length.
 */
import { Refusal } from './status.ts'

export interface IfCondition {
  readonly not: boolean
  readonly kind: 'token' | 'tag'
  /** The state token (without brackets), or the entity tag (quoted, "W/" included). */
  readonly value: string
}

export interface IfList {
  /** The resource that the list speaks of, as written; undefined: the one of the request. */
  readonly resource: string | undefined
  readonly conditions: readonly IfCondition[]
}

/** What a list is held against. */
export interface ResourceState {
  /** undefined: nothing is there. */
  readonly tag: string | undefined
  /** Tokens of the locks that cover it. */
  readonly tokens: ReadonlySet<string>
}

const LIST_LIMIT = 100
const CONDITION_LIMIT = 1000

/** Reads the header; throws a 400 when it is malformed. */
export function parseIf(header: string): IfList[] {
  const reader = new Reader(header)
  const lists: IfList[] = []
  let resource: string | undefined
  let conditions = 0
  while (!reader.done) {
    if (reader.peek() === '<') {
      // A tag needs a list, and tagged lists don't mix with untagged ones.
      if (lists.length > 0 && resource === undefined) malformed()
      resource = reader.between('<', '>')
      if (reader.peek() !== '(') malformed()
    }
    const list = { resource, conditions: readList(reader) }
    lists.push(list)
    conditions += list.conditions.length
    if (lists.length > LIST_LIMIT || conditions > CONDITION_LIMIT) malformed()
  }
  if (lists.length === 0) malformed()
  return lists
}

/** Whether one of the lists holds. */
export async function evaluateIf(
  lists: readonly IfList[],
  stateOf: (resource: string | undefined) => Promise<ResourceState>,
): Promise<boolean> {
  const states = new Map<string | undefined, ResourceState>()
  for (const { resource, conditions } of lists) {
    let state = states.get(resource)
    if (!state) states.set(resource, (state = await stateOf(resource)))
    if (conditions.every(condition => holds(condition, state))) return true
  }
  return false
}

/** All lock tokens that the header names, wherever: naming one is submitting it. */
export function tokensIn(lists: readonly IfList[]): Set<string> {
  const tokens = new Set<string>()
  for (const { conditions } of lists) for (const { kind, value } of conditions) if (kind === 'token') tokens.add(value)
  return tokens
}

function holds({ not, kind, value }: IfCondition, state: ResourceState): boolean {
  const found = kind === 'token' ? state.tokens.has(value) : value === state.tag
  return found !== not
}

function readList(reader: Reader): IfCondition[] {
  reader.expect('(')
  const conditions: IfCondition[] = []
  while (reader.peek() !== ')') {
    const not = reader.word('not')
    if (reader.peek() === '<') conditions.push({ not, kind: 'token', value: reader.between('<', '>') })
    else if (reader.peek() === '[') {
      const value = reader.between('[', ']').trim()
      if (!/^(?:W\/)?"[^"]*"$/.test(value)) malformed()
      conditions.push({ not, kind: 'tag', value })
    } else malformed()
  }
  reader.expect(')')
  if (conditions.length === 0) malformed()
  return conditions
}

class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
    this.#skipSpace()
  }

  get done(): boolean {
    return this.#at >= this.#text.length
  }

  peek(): string | undefined {
    return this.#text[this.#at]
  }

  expect(character: string): void {
    if (this.peek() !== character) malformed()
    this.#at++
    this.#skipSpace()
  }

  between(open: string, close: string): string {
    if (this.peek() !== open) malformed()
    const end = this.#text.indexOf(close, this.#at)
    if (end < 0 || end === this.#at + 1) malformed()
    const value = this.#text.slice(this.#at + 1, end)
    this.#at = end + 1
    this.#skipSpace()
    return value
  }

  /** Takes the word when it comes next, in any case. */
  word(word: string): boolean {
    if (this.#text.slice(this.#at, this.#at + word.length).toLowerCase() !== word) return false
    this.#at += word.length
    this.#skipSpace()
    return true
  }

  #skipSpace(): void {
    // A comma comes where a client (or a proxy) sent the header in several lines.
    while (this.peek() === ' ' || this.peek() === '\t' || this.peek() === ',') this.#at++
  }
}

function malformed(): never {
  throw new Refusal(400, 'the If header is malformed')
}
