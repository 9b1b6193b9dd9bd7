/** Fills a cache until it is killed, and writes down the number of each object once it is in. */
import { openSync, writeSync } from 'node:fs'
import { BlockCache } from '../../src/cache/blocks/block-cache.ts'
import { SecretKey } from '../../src/crypto/secret-key.ts'
import { contentOf } from './content.ts'

const directory = process.argv[2]!
const round = Number(process.argv[3])
const progress = openSync(process.argv[4]!, 'r+')
const cache = new BlockCache({ directory, key: new SecretKey(Buffer.alloc(32, 7)), quotaBytes: 24 * 2 ** 20 })
for (let i = 0; ; i++) {
  const seed = round * 100_000 + i
  const size = 1000 + ((i * 7919) % 300_000)
  cache.put(cache.object({ volume: 1, key: `object ${seed}`, version: 'etag', sizeBytes: size }), 0, contentOf(seed, 0, size))
  writeSync(progress, String(i), 0)
  await new Promise(setImmediate)
}
