/** Real programs: fio writes patterns by every way of writing there is and verifies what it reads back. */
import { BOTH, program } from './suite.ts'

interface Job {
  readonly title: string
  readonly options: readonly string[]
}

const JOBS: readonly Job[] = [
  { title: 'random', options: ['--ioengine=psync', '--rw=randwrite', '--bs=4k', '--size=6M'] },
  { title: 'straddles-pages', options: ['--ioengine=psync', '--rw=randrw', '--bsrange=512-70k', '--bs_unaligned', '--size=6M'] },
  { title: 'sequential-with-fsync', options: ['--ioengine=psync', '--rw=write', '--bs=1M', '--size=16M', '--fsync=8'] },
  { title: 'memory-map', options: ['--ioengine=mmap', '--rw=randwrite', '--bs=4k', '--size=6M'] },
  { title: 'direct-asynchronous', options: ['--ioengine=libaio', '--direct=1', '--iodepth=16', '--rw=randwrite', '--bs=8k', '--size=6M'] },
  { title: 'direct-and-synchronous', options: ['--ioengine=pvsync2', '--direct=1', '--sync=1', '--rw=randwrite', '--bs=16k', '--size=1M'] },
  { title: 'buffered-asynchronous', options: ['--ioengine=posixaio', '--iodepth=8', '--rw=randwrite', '--bs=4k', '--size=4M'] },
  { title: 'preallocated', options: ['--ioengine=psync', '--rw=randwrite', '--bs=8k', '--size=4M', '--fallocate=native'] },
  {
    title: 'four-in-one-file',
    options: ['--ioengine=psync', '--rw=randwrite', '--bs=4k', '--size=2M', '--numjobs=4', '--offset_increment=2M', '--filename=shared'],
  },
]

const COMMON = [
  '--verify=crc32c',
  '--verify_fatal=1',
  '--verify_dump=0',
  '--do_verify=1',
  '--end_fsync=1',
  '--output-format=terse',
  '--randseed=4711',
]

/** One after the other in one run: fio takes a while to start. */
const ARGUMENTS = [...COMMON, ...JOBS.flatMap(({ title, options }) => [`--name=${title}`, '--stonewall', ...options])]

for (const configuration of BOTH)
  program(`fio --verify, ${JOBS.length} ways to write`, { needs: ['fio'], in: [configuration] }, async ({ t, mounted, run }) => {
    await t.notThrowsAsync(run('fio', ARGUMENTS, { cwd: mounted }))
    // Read back by a process that wrote nothing.
    await t.notThrowsAsync(run('fio', [...ARGUMENTS, '--verify_only'], { cwd: mounted }), 'verified again')
  })
