/**
 * The index that tests mount with. Owns: where it comes from.
 */
import { existsSync } from 'node:fs'
import type { Index } from '../../src/index/contract.ts'
import type { Log } from '../../src/log.ts'
import { MemoryIndex } from './memory-index.ts'

/** Opens the index in `directory`, made where it isn't there yet. */
export async function openTestIndex(directory: string, log: Log): Promise<Index> {
  const module = new URL('../../src/index/open-index.ts', import.meta.url)
  if (!existsSync(module) || process.env.SDMOUNT_TEST_INDEX === 'memory') return new MemoryIndex()
  const { openIndex } = (await import(module.href)) as { openIndex: (options: { directory: string; key: Buffer; log: Log }) => Index }
  return openIndex({ directory, key: Buffer.alloc(32, 7), log })
}
