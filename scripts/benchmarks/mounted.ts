/** Whether something is mounted exactly there. */
import { readFileSync } from 'node:fs'

export function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .some(line => line.split(' ')[4] === path)
}
