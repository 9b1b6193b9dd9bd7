/** Support for the observer's tests: folders, filesystems in files, and mounts, all taken down at the end of the test. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { ObserverOptions } from '../../src/vfs/volumes/location/observer/observer.ts'
import { Watcher } from './mirror.ts'

export const isRoot: boolean = process.getuid?.() === 0
export const hasLoopDevices: boolean = isRoot && existsSync('/dev/loop-control') && works('mkfs.ext4', ['-V'])
export const hasBindfs: boolean = isRoot && existsSync('/dev/fuse') && works('bindfs', ['--version'])

function works(program: string, parameters: string[]): boolean {
  return spawnSync(program, parameters, { stdio: 'ignore' }).status === 0
}

export function run(program: string, ...parameters: string[]): string {
  return execFileSync(program, parameters, { encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Runs a script of the shell in a folder. */
export function shell(folder: string, script: string): string {
  return execFileSync('bash', ['-e', '-c', script], { cwd: folder, encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** A folder in memory where there is such a thing: for tests that need many files. */
export function largeFolder(t: ExecutionContext): string {
  return temporaryFolder(t, existsSync('/dev/shm') ? '/dev/shm' : tmpdir())
}

/** A folder that is removed at the end, after what is mounted below it was unmounted. */
export function temporaryFolder(t: ExecutionContext, where: string = tmpdir()): string {
  const folder = mkdtempSync(join(where, 'observer-'))
  t.teardown(() => {
    if (isRoot) unmountBelow(folder)
    run('rm', '-rf', '--one-file-system', folder)
  })
  return folder
}

function unmountBelow(folder: string): void {
  const points = run('awk', '{print $5}', '/proc/self/mountinfo').split('\n')
  for (const point of points.reverse()) if (point.startsWith(`${folder}/`)) spawnSync('umount', ['-l', point])
}

/** A file that holds an empty ext4 filesystem; mount it with `mount -o loop`. */
export function filesystemImage(folder: string, name: string): string {
  const image = join(folder, name)
  run('truncate', '-s', '24M', image)
  run('mkfs.ext4', '-q', '-F', image)
  return image
}

/** An observer that is closed at the end of the test, before its folder goes. */
export function watch(t: ExecutionContext, path: string, options: Partial<ObserverOptions> = {}): Watcher {
  const watcher = new Watcher(path, options)
  t.teardown(() => watcher.observer.close())
  return watcher
}
