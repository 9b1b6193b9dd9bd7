/** Bytes that tell where they belong: any piece of any object can be checked without keeping it. */

/** The content of object number `seed` from `position` on. */
export function contentOf(seed: number, position: number, lengthBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(lengthBytes)
  for (let i = 0; i < lengthBytes; i++) {
    const at = position + i
    bytes[i] = (Math.imul(Math.floor(at / 7) + seed * 977, 2654435761) >>> 24) ^ (at & 0xff)
  }
  return bytes
}

/** The seed of a test: printed when it fails, given again by SDMOUNT_TEST_SEED. */
export function testSeed(): number {
  return Number(process.env.SDMOUNT_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31))
}

/** Random numbers from a seed (mulberry32). */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0
  return below => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}
