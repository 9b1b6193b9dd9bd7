/**
 * What a piece of code writes into one folder, recorded call by call, and every state in which an interruption may leave it.
 *
 * Owns: the recording (node:fs is wrapped while the code runs) and the model of a filesystem with a cache: a killed process
 * leaves all that was called; a power loss leaves what was flushed for certain, and anything between that and all.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename, dirname } from 'node:path'

type Call =
  | { readonly does: 'open'; readonly fd: number; readonly name: string; readonly truncates: boolean }
  | { readonly does: 'write'; readonly fd: number; readonly bytes: Buffer }
  | { readonly does: 'flush'; readonly fd: number }
  | { readonly does: 'rename' | 'link'; readonly from: string; readonly to: string }
  | { readonly does: 'remove'; readonly name: string }
  | { readonly does: 'flush names' }

/** File contents by name. */
export type FolderState = ReadonlyMap<string, Buffer>

/** Runs `work` and answers what it called on `folder`. */
export function recordWrites(folder: string, work: () => void): Call[] {
  const calls: Call[] = []
  const descriptors = new Map<number, 'file' | 'folder'>()
  const { openSync, writeSync, fsyncSync, renameSync, linkSync, rmSync } = fs
  const originals = { openSync, writeSync, fsyncSync, renameSync, linkSync, rmSync }
  const inFolder = (path: fs.PathLike) => dirname(String(path)) === folder
  Object.assign(fs, {
    openSync(path: string, flags: string, mode?: number) {
      const fd = originals.openSync(path, flags, mode)
      if (path === folder) descriptors.set(fd, 'folder')
      else if (inFolder(path)) {
        descriptors.set(fd, 'file')
        calls.push({ does: 'open', fd, name: basename(path), truncates: flags.startsWith('w') })
      }
      return fd
    },
    writeSync(fd: number, bytes: Buffer, offset?: number, ...rest: number[]) {
      // Half at a time: a write may be short.
      const at = typeof offset === 'number' ? offset : 0
      if (descriptors.get(fd) !== 'file') return originals.writeSync(fd, bytes, offset, ...rest)
      const part = bytes.subarray(at, at + Math.ceil((bytes.length - at) / 2))
      calls.push({ does: 'write', fd, bytes: Buffer.from(part) })
      return originals.writeSync(fd, part)
    },
    fsyncSync(fd: number) {
      const kind = descriptors.get(fd)
      if (kind === 'file') calls.push({ does: 'flush', fd })
      if (kind === 'folder') calls.push({ does: 'flush names' })
      originals.fsyncSync(fd)
    },
    renameSync(from: string, to: string) {
      calls.push({ does: 'rename', from: basename(from), to: basename(to) })
      originals.renameSync(from, to)
    },
    linkSync(from: string, to: string) {
      calls.push({ does: 'link', from: basename(from), to: basename(to) })
      originals.linkSync(from, to)
    },
    rmSync(path: string, options: fs.RmOptions) {
      if (fs.existsSync(path)) calls.push({ does: 'remove', name: basename(path) })
      originals.rmSync(path, options)
    },
  })
  syncBuiltinESMExports()
  try {
    work()
  } finally {
    Object.assign(fs, originals)
    syncBuiltinESMExports()
  }
  return calls
}

interface File {
  bytes: Buffer
  flushed: Buffer
}

/** Every state that an interruption before, between or after the calls may leave. */
export function* interruptedStates(
  before: FolderState,
  calls: readonly Call[],
): Generator<{ readonly what: string; readonly state: FolderState }> {
  for (let done = 0; done <= calls.length; done++) {
    const last = calls[done - 1]
    const what = `after ${done} of ${calls.length} calls${last ? ` (${last.does})` : ''}`
    const { names, flushedNames, changes } = replay(before, calls.slice(0, done))
    yield { what: `${what}, killed`, state: contents(names, file => file.bytes) }
    // Any number of the changes of names that were not flushed may be on the disk, with or without the bytes.
    for (let kept = 0; kept <= changes.length; kept++) {
      const kept_ = new Map(flushedNames)
      for (const change of changes.slice(0, kept)) change(kept_)
      yield { what: `${what}, power lost, ${kept} names late`, state: contents(kept_, file => file.flushed) }
      yield { what: `${what}, power lost, ${kept} names late, bytes in half`, state: contents(kept_, halfWritten) }
    }
  }
}

function halfWritten(file: File): Buffer {
  return file.flushed.equals(file.bytes) ? file.bytes : file.bytes.subarray(0, Math.floor(file.bytes.length / 2))
}

function replay(before: FolderState, calls: readonly Call[]) {
  const names = new Map<string, File>([...before].map(([name, bytes]) => [name, { bytes, flushed: bytes }]))
  let flushedNames = new Map(names)
  let changes: ((names: Map<string, File>) => void)[] = []
  const open = new Map<number, File>()
  const change = (apply: (names: Map<string, File>) => void) => {
    apply(names)
    changes.push(apply)
  }
  for (const call of calls) {
    if (call.does === 'open') {
      const file = names.get(call.name) ?? { bytes: Buffer.alloc(0), flushed: Buffer.alloc(0) }
      if (call.truncates) file.bytes = Buffer.alloc(0)
      open.set(call.fd, file)
      if (!names.has(call.name)) change(all => all.set(call.name, file))
    } else if (call.does === 'write') {
      const file = open.get(call.fd)!
      file.bytes = Buffer.concat([file.bytes, call.bytes])
    } else if (call.does === 'flush') {
      const file = open.get(call.fd)!
      file.flushed = file.bytes
    } else if (call.does === 'remove') {
      change(all => all.delete(call.name))
    } else if (call.does === 'flush names') {
      flushedNames = new Map(names)
      changes = []
    } else {
      const file = names.get(call.from)!
      change(all => {
        if (call.does === 'rename') all.delete(call.from)
        all.set(call.to, file)
      })
    }
  }
  return { names, flushedNames, changes }
}

function contents(names: ReadonlyMap<string, File>, bytesOf: (file: File) => Buffer): FolderState {
  return new Map([...names].map(([name, file]) => [name, bytesOf(file)]))
}
