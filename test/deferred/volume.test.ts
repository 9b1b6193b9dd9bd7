/** A location that is driven by a thread of its own does what every volume must do. */
import { type MadeVolume, volumeSuite } from '../vfs/volume-contract.ts'
import { openDeferred } from './open.ts'

/** One at a time: the tests of a suite begin together, and each location has two threads that load for a second. */
let last: Promise<void> = Promise.resolve()

async function make(): Promise<MadeVolume> {
  const before = last
  let done = () => {}
  last = new Promise(resolve => {
    done = resolve
  })
  await before
  const opened = await openDeferred()
  return {
    volume: opened.volume,
    async dispose() {
      try {
        await opened.dispose()
      } finally {
        done()
      }
    },
  }
}

volumeSuite('deferred location', make, { saysStale: true })
