/** Real programs: rsync, cp and tar copy a tree with one of everything into the mount and out of it. */
import { chownSync, mkdirSync, readdirSync } from 'node:fs'
import { treeDifferences } from './compare-trees.ts'
import { makeSampleTree } from './sample-tree.ts'
import { type Place, program } from './suite.ts'

interface Copier {
  readonly title: string
  readonly needs: readonly string[]
  copy(place: Place, from: string, to: string): Promise<unknown>
}

const COPIERS: readonly Copier[] = [
  {
    title: 'rsync -aHAX',
    needs: ['rsync'],
    copy: async ({ run }, from, to) => {
      await run('rsync', ['-aHAXS', '--devices', '--specials', `${from}/`, `${to}/`])
      // A second run with checksums finds nothing to do.
      const again = await run('rsync', ['-aHAXSn', '--checksum', '--itemize-changes', `${from}/`, `${to}/`])
      if (again !== '') throw new Error(`rsync sees differences:\n${again}`)
    },
  },
  { title: 'cp -a', needs: ['cp'], copy: ({ run }, from, to) => run('cp', ['-a', '--sparse=always', '--reflink=auto', `${from}/.`, to]) },
  {
    title: 'tar',
    needs: ['tar', 'sh'],
    copy: ({ run }, from, to) =>
      run('sh', [
        '-c',
        'tar -C "$1" -cSf - --acls --xattrs --xattrs-include="*" . | tar -C "$2" -xpf - --acls --xattrs --xattrs-include="*"',
        'sh',
        from,
        to,
      ]),
  },
]

for (const { title, needs, copy } of COPIERS)
  program(`${title}: into the mount and out of it`, { needs: [...needs, 'setfacl'] }, async place => {
    const { t, mount, mounted, host, plain } = place
    const { uid, gid } = mount.owner
    const asRoot = uid === 0
    const directory = (name: string) => {
      mkdirSync(`${plain}/${name}`)
      if (process.getuid?.() === 0) chownSync(`${plain}/${name}`, uid, gid)
      return `${plain}/${name}`
    }
    const original = directory('original')
    // Made by the owner, so that an ordinary user may read and write all of it again.
    if (asRoot || process.getuid?.() === uid) makeSampleTree(original, { asRoot })
    else await makeAs(place, original)
    // A socket can't be packed, and what its owner may not read can't be copied by him.
    const left = title === 'tar' ? ['special/socket'] : []
    if (!asRoot) left.push('modes/0', 'modes/200')
    await place.run('rm', ['-f', ...left.map(name => `${original}/${name}`)])
    // rsync and tar know no attributes of root's namespaces for other users; times of the directories above were changed by rm.
    await place.run('touch', ['-d', '2020-01-01T00:00:00.5Z', `${original}/modes`, `${original}/special`, original])

    const out = directory('out')
    await copy(place, original, mounted)
    await copy(place, mounted, out)
    t.true(readdirSync(host).length > 5)
    t.deepEqual(treeDifferences(host, original), [], 'on the host')
    t.deepEqual(treeDifferences(out, original), [], 'copied out again')
    if (asRoot) t.deepEqual(treeDifferences(mounted, original), [], 'through the mount')
  })

/** The sample tree, made by a process of the mount's owner. */
async function makeAs({ run, mount }: Place, where: string): Promise<void> {
  const script = `const { makeSampleTree } = await import(${JSON.stringify(new URL('./sample-tree.ts', import.meta.url).href)}); makeSampleTree(${JSON.stringify(where)}, { asRoot: false })`
  await run(process.execPath, ['--input-type=module', '-e', script], { cwd: mount.directory })
}

program(
  'cp between the mount and the host, and within the mount',
  { needs: ['cp', 'cmp', 'mv', 'dd'] },
  async ({ t, mounted, plain, run }) => {
    await run('dd', ['if=/dev/urandom', `of=${plain}/a`, 'bs=1M', 'count=20', 'status=none'])
    await run('cp', [`${plain}/a`, `${mounted}/b`])
    // Within the mount cp asks for copy_file_range.
    await run('cp', ['--reflink=auto', `${mounted}/b`, `${mounted}/c`])
    await run('cmp', [`${plain}/a`, `${mounted}/c`])
    // Into the mount mv must copy; within it, it renames.
    await run('mv', [`${plain}/a`, `${mounted}/moved`])
    await run('mv', [`${mounted}/moved`, `${mounted}/again`])
    await run('cmp', [`${mounted}/again`, `${mounted}/b`])
    t.is((await run('ls', [mounted])).trim(), 'again\nb\nc')
  },
)
