/**
 * Names of unfinished files, where a volume has no unnamed ones.
 * Owns: their form. Must stay true: nobody else would choose such a name; listings leave them out and requests can't reach
 * them. What a crash leaves behind is found by this form.
 */
import { randomBytes } from 'node:crypto'
import type { Name } from '../../vfs/contract.ts'

const DRAFT_NAME = /^\.~sdmount-[0-9a-f]{24}$/

export function draftName(): Name {
  return `.~sdmount-${randomBytes(12).toString('hex')}`
}

export function isDraftName(name: Name): boolean {
  return DRAFT_NAME.test(name)
}
