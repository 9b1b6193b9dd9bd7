/** The commands for each system's own client: what is run, in which order, and where the password is. */
import { existsSync } from 'node:fs'
import test from 'ava'
import { mapSteps, runStep, runSteps, type Step, StepFailed, unmapSteps, windowsAdvice } from '../../src/fs/webdav/system-client.ts'

const mapping = { url: 'http://127.0.0.1:4321/', user: 'sdmount', password: 'p"w\\d', target: 'S:', label: 'Spacedrive' }
const signal = new AbortController().signal

test('Windows: the service, then net use; undone by net use', t => {
  t.deepEqual(mapSteps('win32', mapping, false), [
    { command: 'sc.exe', args: ['start', 'WebClient'], mayFail: true },
    { command: 'net.exe', args: ['use', 'S:', 'http://127.0.0.1:4321/', 'p"w\\d', '/user:sdmount', '/persistent:no'] },
  ])
  t.deepEqual(unmapSteps('win32', mapping, false), [{ command: 'net.exe', args: ['use', 'S:', '/delete', '/yes'] }])
})

test('macOS: mount_webdav, with the login on a descriptor', t => {
  const [step] = mapSteps('darwin', { ...mapping, target: '/Users/ann/Spacedrive' }, false)
  t.is(step!.command, '/sbin/mount_webdav')
  t.deepEqual(step!.args, ['-S', '-a', '3', '-v', 'Spacedrive', 'http://127.0.0.1:4321/', '/Users/ann/Spacedrive'])
  t.deepEqual(step!.descriptor, { number: 3, bytes: Buffer.from('\0\0\0\x07sdmount\0\0\0\x05p"w\\d', 'latin1') })
  t.deepEqual(unmapSteps('darwin', { ...mapping, target: '/Users/ann/Spacedrive' }, false), [
    { command: '/sbin/umount', args: ['/Users/ann/Spacedrive'] },
  ])
})

test('Linux: davfs2 for root, the desktop for others', t => {
  const [root] = mapSteps('linux', { ...mapping, target: '/mnt/s' }, true)
  t.deepEqual([root!.command, ...root!.args], ['mount.davfs', '-o', 'conf={directory}/davfs2.conf', 'http://127.0.0.1:4321/', '/mnt/s'])
  t.is(root!.files!.secrets, '"http://127.0.0.1:4321/" "sdmount" "p\\"w\\\\d"\n')
  t.regex(root!.files!['davfs2.conf']!, /use_locks 1/)
  t.deepEqual(mapSteps('linux', mapping, false), [{ command: 'gio', args: ['mount', 'dav://127.0.0.1:4321/'], input: 'sdmount\np"w\\d\n' }])
  t.deepEqual(unmapSteps('linux', { ...mapping, target: '/mnt/s' }, true), [{ command: 'umount', args: ['/mnt/s'] }])
  t.deepEqual(unmapSteps('linux', { ...mapping, url: 'https://h:1/' }, false), [
    { command: 'gio', args: ['mount', '--unmount', 'davs://h:1/'] },
  ])
})

test('no password in arguments, but on Windows', t => {
  for (const platform of ['darwin', 'linux'] as const) {
    for (const isRoot of [true, false])
      for (const step of mapSteps(platform, mapping, isRoot)) t.false(step.args.some(argument => argument.includes('p"w')))
  }
})

test('what Windows limits is said with the line that mends it', t => {
  const key = 'HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\WebClient\\Parameters'
  const fresh = windowsAdvice(
    `${key}\n    FileSizeLimitInBytes    REG_DWORD    0x2faf080\n    FileAttributesLimitInBytes    REG_DWORD    0xf4240\n`,
  )
  t.true(fresh.some(line => line.includes('50 MB')))
  t.true(
    fresh.includes(
      '  reg add HKLM\\SYSTEM\\CurrentControlSet\\Services\\WebClient\\Parameters /v FileSizeLimitInBytes /t REG_DWORD /d 4294967295 /f',
    ),
  )
  t.true(fresh.some(line => line.includes('FileAttributesLimitInBytes')))
  const raised = windowsAdvice(
    '    FileSizeLimitInBytes    REG_DWORD    0xffffffff\n    FileAttributesLimitInBytes    REG_DWORD    0x5f5e100\n',
  )
  t.false(raised.some(line => line.includes('reg add')))
  t.true(raised.some(line => line.includes('C:')))
  t.deepEqual(windowsAdvice(''), fresh, 'without an answer the defaults are taken')
})

test('steps run in order; the first that must not fail ends it', async t => {
  const ran: Step[] = []
  const run = (codes: readonly number[]) => async (step: Step) => {
    ran.push(step)
    return { code: codes[ran.length - 1]!, output: `${step.command};` }
  }
  const steps = mapSteps('win32', mapping, false)
  t.is(await runSteps(steps, signal, run([1, 0])), 'sc.exe;net.exe;')
  ran.length = 0
  const error = await t.throwsAsync(runSteps([...steps, steps[0]!], signal, run([0, 2])), { instanceOf: StepFailed })
  t.is(ran.length, 2)
  t.false(error!.message.includes(mapping.password))
})

test('a step gets its input, its files and its descriptor, and nothing stays', async t => {
  const shell = (script: string, more: Partial<Step> = {}) =>
    runStep({ command: 'sh', args: ['-c', script, 'sh', '{directory}'], ...more }, signal)
  const files = { a: 'content in {directory}' }
  const outcome = await shell('cat; cat "$1/a"; stat -c " %a" "$1/a"; cat <&3; echo " $1"', {
    input: 'input ',
    files,
    descriptor: { number: 3, bytes: Buffer.from('descriptor') },
  })
  const directory = outcome.output.trim().split(' ').at(-1)!
  t.is(outcome.output, `input content in ${directory} 600\ndescriptor ${directory}\n`)
  t.false(existsSync(directory))
  t.is((await shell('exit 3')).code, 3)
  t.deepEqual(await runStep({ command: 'no-such-program-here', args: [] }, signal), {
    code: 127,
    output: 'no-such-program-here is not installed',
  })
  await t.throwsAsync(runStep({ command: 'sleep', args: ['60'] }, AbortSignal.timeout(100)))
})
