/**
 * Where the tests find the FUSE library: the optional package, or the folder that SDMOUNT_TEST_FUSE_LIBRARY names.
 */
import { createRequire } from 'node:module'
import type { LoadModule } from '../../src/fs/libfuse/library.ts'

export const loadLibrary: LoadModule = async name => {
  const elsewhere = process.env.SDMOUNT_TEST_FUSE_LIBRARY
  return elsewhere ? createRequire(import.meta.url)(elsewhere) : await import(name)
}
