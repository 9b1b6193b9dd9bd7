/** A cloud volume over a bucket in memory does what every volume must do. */
import { MemoryBackend } from '../../../src/backends/memory.ts'
import { volumeSuite } from '../volume-contract.ts'
import { TestGround } from './cloud-ground.ts'

volumeSuite('cloud', async () => {
  const ground = new TestGround({ backend: new MemoryBackend() })
  return { volume: ground.volume, dispose: () => ground.close() }
})
