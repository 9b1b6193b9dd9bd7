/** sdmount cache status, clear, warm; pin, unpin: what of cloud volumes is kept on this disk. */
import type { Command, Invocation } from '../command.ts'
import { askLibrary } from '../library-client.ts'
import type { CacheStatus, CloudPath, FetchUpdate } from '../service/requests.ts'
import { bytes, count } from '../terminal/format.ts'
import { Progress } from '../terminal/progress.ts'
import { table } from '../terminal/table.ts'
import { printable } from '../terminal/terminal.ts'
import { libraryOf, required, treePath } from './arguments.ts'

const PATH = { name: 'path', required: true, help: 'a file or folder of a cloud volume: below the mountpoint, or as it stands in the tree' }

const status: Command = {
  words: ['cache', 'status'],
  summary: 'show what the block cache of cloud volumes holds',
  description: `Shows how much of the disk the block cache takes and may take, how often it had what was asked for since the mount, and
which files and folders are pinned. Everything in it is sealed with the library's key, names and contents.
\`sdmount limits --cache-size SIZE\` changes its bound, which is never passed.`,
  arguments: [],
  options: ['library', 'json'],
  examples: [{ line: 'sdmount cache status', does: 'sizes, hits, pinned files' }],
  async run(invocation) {
    const { terminal, signal } = invocation
    const cache = await askLibrary({ library: libraryOf(invocation), request: 'cache.status', arguments: {}, create: false, signal })
    if (invocation.option('json')) {
      const pinned = cache.pinned.map(pin => ({ ...pin, volume: printable(pin.volume), path: printable(pin.path) }))
      terminal.print(JSON.stringify({ ...cache, pinned }))
      return 'ok'
    }
    for (const line of cacheLines(cache)) terminal.print(line)
    return 'ok'
  },
}

const clear: Command = {
  words: ['cache', 'clear'],
  summary: 'empty the block cache; pinned files stay',
  description: 'Forgets all cached blocks but those of pinned files. They are fetched again when they are read.',
  arguments: [],
  options: ['library'],
  examples: [{ line: 'sdmount cache clear', does: 'gives the disk back' }],
  async run(invocation) {
    const { signal } = invocation
    const { freedBytes } = await askLibrary({
      library: libraryOf(invocation),
      request: 'cache.clear',
      arguments: {},
      create: false,
      signal,
    })
    invocation.terminal.print(`cleared: ${bytes(freedBytes)} given back`)
    return 'ok'
  },
}

const warm: Command = {
  words: ['cache', 'warm'],
  summary: 'fetch a file, or all files of a folder, into the block cache',
  description: `Fetches what isn't cached yet, for the next train ride; later reads may push it out again (\`sdmount pin\` keeps it). As much
as the cache holds.`,
  arguments: [PATH],
  options: ['library'],
  examples: [{ line: 'sdmount cache warm ~/Spacedrive/photos/2024', does: 'one folder' }],
  async run(invocation) {
    const done = await fetchPath(invocation, 'cache.warm', 'fetching')
    invocation.terminal.print(`${count(done.files)} ${done.files === 1 ? 'file' : 'files'}, ${bytes(done.bytes)} in the cache`)
    return 'ok'
  },
}

const pin: Command = {
  words: ['pin'],
  summary: 'keep a file, or all files of a folder, on this disk',
  description: `Fetches the file, or all files of the folder, and keeps them in the cache until \`sdmount unpin\`: they read with no network,
and whatever else is read doesn't push them out. A file that changes stays pinned; a file that is new in the folder isn't, until
the folder is pinned again. Pinned files may take four fifths of the cache.`,
  arguments: [PATH],
  options: ['library'],
  examples: [
    { line: 'sdmount pin ~/Spacedrive/photos/2024', does: 'a folder' },
    { line: 'sdmount pin photos/cover.jpg', does: 'the same by its place in the tree, from anywhere' },
  ],
  async run(invocation) {
    const { path, sizeBytes } = await fetchPath(invocation, 'pin', 'pinning')
    invocation.terminal.print(`pinned ${describePath(path)}: ${bytes(sizeBytes)}`)
    return 'ok'
  },
}

const unpin: Command = {
  words: ['unpin'],
  summary: 'let a pinned file or folder go when room is needed',
  description: 'What was pinned stays cached for as long as nothing else needs the room.',
  arguments: [PATH],
  options: ['library'],
  examples: [{ line: 'sdmount unpin ~/Spacedrive/photos/2024', does: 'as it was pinned' }],
  async run(invocation) {
    const library = libraryOf(invocation)
    const path = await treePath(invocation, library, required(invocation, 'path'))
    await askLibrary({ library, request: 'unpin', arguments: path, create: false, signal: invocation.signal })
    invocation.terminal.print(`unpinned ${describePath(path)}`)
    return 'ok'
  },
}

export const cacheCommands: readonly Command[] = [pin, unpin, status, clear, warm]

async function fetchPath<N extends 'pin' | 'cache.warm'>(invocation: Invocation, request: N, doing: string) {
  const library = libraryOf(invocation)
  const path = await treePath(invocation, library, required(invocation, 'path'))
  const progress = new Progress(invocation.terminal)
  const update = (now: FetchUpdate) => {
    const of = now.totalBytes === undefined ? '' : ` of ${bytes(now.totalBytes)}`
    const fraction = now.totalBytes ? now.bytes / now.totalBytes : undefined
    progress.show(`${doing} ${describePath(path)}: ${count(now.files)} files, ${bytes(now.bytes)}${of}`, fraction)
  }
  try {
    const result = await askLibrary({ library, request, arguments: path, create: false, signal: invocation.signal, update })
    return { path, ...result }
  } finally {
    progress.end()
  }
}

function describePath({ volume, path }: CloudPath): string {
  return path === '' ? printable(volume) : `${printable(volume)}/${printable(path)}`
}

function cacheLines(cache: CacheStatus): string[] {
  const asked = cache.hits + cache.misses
  return [
    `directory  ${cache.directory}`,
    `size       ${bytes(cache.usedBytes)} of at most ${bytes(cache.quotaBytes)}, ${count(cache.blocks)} blocks`,
    `pinned     ${bytes(cache.pinnedBytes)}`,
    ...(asked === 0 ? [] : [`hits       ${Math.floor((100 * cache.hits) / asked)} % of ${count(asked)} reads`]),
    ...(cache.damaged === 0 ? [] : [`damaged    ${count(cache.damaged)} blocks were discarded and fetched again`]),
    ...(cache.pinned.length === 0 ? [] : ['']),
    ...table(
      ['PINNED', 'SIZE'],
      cache.pinned.map(one => [describePath(one), bytes(one.sizeBytes)]),
    ),
  ]
}
