/** Real programs: git, from a clone to a garbage collection, and across a remount. */
import { BOTH, program } from './suite.ts'

/** A history with branches, merges, renames, modes and a symlink; the commits' dates are fixed, so that runs agree. */
const MAKE_HISTORY = `
set -e
git init -q -b main .
git config user.name Anna
git config user.email anna@example.org
export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
for n in $(seq 1 6); do
  mkdir -p "folder$n/inner"
  for f in $(seq 1 8); do seq 1 $((n * f)) > "folder$n/inner/file$f.txt"; done
  head -c $((n * 3000)) /dev/zero | tr '\\0' "x" > "folder$n/large.bin"
  ln -s "../folder1/large.bin" "folder$n/link"
  echo "echo $n" > "folder$n/script.sh"; chmod +x "folder$n/script.sh"
  git add -A; git commit -q -m "commit $n"
  [ $((n % 3)) -ne 0 ] || git tag -a "v$n" -m "version $n"
done
git checkout -q -b side HEAD~3
git mv folder1 renamed; echo side > side.txt; git add -A; git commit -q -m side
git checkout -q main
git merge -q -m merge side
`

const WORK = `
set -e
git fsck --full --strict
git status --porcelain
git config user.name Anna; git config user.email anna@example.org
export GIT_AUTHOR_DATE='2026-02-01T00:00:00Z' GIT_COMMITTER_DATE='2026-02-01T00:00:00Z'
git checkout -q -b topic HEAD~2
echo topic > topic.txt; git add topic.txt; git commit -q -m topic
git rebase -q main
echo changed >> topic.txt; git stash -q; git stash pop -q
git commit -q -a -m changed
git worktree add -q ../worktree side
git -C ../worktree status --porcelain
git worktree remove ../worktree
git rm -q -r renamed; git commit -q -m removed
git revert --no-edit HEAD >/dev/null
git gc -q --prune=now
git repack -q -a -d -f
git fsck --full --strict
git status --porcelain
git rev-parse 'HEAD^{tree}'
git log --format=%H%n%s
`

program(
  'git: clone, fsck, branches, worktrees, gc',
  { needs: ['git', 'sh', 'seq'], in: BOTH },
  async ({ t, mount, mounted, plain, run }) => {
    const origin = `${plain}/origin`
    await run('mkdir', [origin, `${plain}/beside`])
    await run('sh', ['-c', MAKE_HISTORY], { cwd: origin })

    await run('git', ['clone', '-q', '--no-local', origin, `${mounted}/clone`])
    await run('git', ['clone', '-q', '--no-local', origin, `${plain}/beside/clone`])
    const inMount = await run('sh', ['-c', WORK], { cwd: `${mounted}/clone` })
    const beside = await run('sh', ['-c', WORK], { cwd: `${plain}/beside/clone` })
    t.is(inMount, beside)

    // The clone can be cloned from, and bundles.
    await run('git', ['clone', '-q', `${mounted}/clone`, `${mounted}/second`])
    await run('git', ['-C', `${mounted}/second`, 'bundle', 'create', '-q', 'all.bundle', '--all'])
    await run('git', ['-C', `${mounted}/second`, 'bundle', 'verify', '-q', 'all.bundle'])

    // git keeps inode numbers and change times to the nanosecond in its index: after a remount nothing looks changed to it.
    await run('git', ['update-index', '--really-refresh', '-q'], { cwd: `${mounted}/clone` })
    await mount.remount()
    await run('git', ['diff-files', '--quiet'], { cwd: `${mounted}/clone` })
  },
)
