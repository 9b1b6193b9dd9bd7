/** Between text and names: a `Name` has one char per byte (src/vfs/contract.ts), text is what people type. */
import type { Name } from '../vfs/contract.ts'

export function nameOfText(text: string): Name {
  return Buffer.from(text, 'utf8').toString('latin1')
}

/** The text of a name, or undefined when its bytes aren't UTF-8. */
export function textOfName(name: Name): string | undefined {
  const text = Buffer.from(name, 'latin1').toString('utf8')
  return nameOfText(text) === name ? text : undefined
}
