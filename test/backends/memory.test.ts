/** The bucket in memory, alone and under every wrapper, keeps the contract. */
import { composeBackend } from '../../src/backends/compose.ts'
import { limited } from '../../src/backends/limit.ts'
import { logged } from '../../src/backends/log.ts'
import { MemoryBackend } from '../../src/backends/memory.ts'
import { retrying } from '../../src/backends/retry.ts'
import { createLog } from '../../src/log.ts'
import { backendSuite } from './contract-suite.ts'

backendSuite({ name: 'memory', open: async () => new MemoryBackend() })
backendSuite({
  name: 'memory without conditions',
  open: async () =>
    new MemoryBackend({
      putIfAbsent: false,
      putIfMatch: false,
      completeIfAbsent: false,
      completeIfMatch: false,
      copyIfMatch: false,
      deleteIfMatch: false,
    }),
})
backendSuite({ name: 'retry', open: async () => retrying(new MemoryBackend()) })
backendSuite({ name: 'limit', open: async () => limited(new MemoryBackend(), { downloadsAtOnce: 2, uploadsAtOnce: 2, requestsAtOnce: 2 }) })
backendSuite({
  name: 'bandwidth',
  open: async () =>
    limited(new MemoryBackend(), {
      downloadsAtOnce: 4,
      uploadsAtOnce: 4,
      requestsAtOnce: 4,
      downloadBytesPerSecond: 2 ** 30,
      uploadBytesPerSecond: 2 ** 30,
    }),
})
backendSuite({
  name: 'log',
  open: async () =>
    logged(
      new MemoryBackend(),
      createLog(() => {}, 'debug'),
    ),
})
backendSuite({ name: 'composed', open: async () => composeBackend(new MemoryBackend(), { log: createLog(() => {}, 'debug') }) })
