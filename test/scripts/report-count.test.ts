/** The counting of a test run, on what ava prints. */
import test from 'ava'
import { ReportCount } from '../../scripts/report-count.ts'

function count(text: string, code: number) {
  const report = new ReportCount()
  for (const line of text.split('\n')) report.line(line)
  return report.end(code)
}

test('passed, failed and skipped tests are counted', t => {
  const text =
    '\n  - [skip] a › not here\n  - [todo] a › later\n  ✔ a › fine (1.2s)\n  ✘ [fail]: a › bad\n  ─\n\n  1 test failed\n  1 test skipped\n'
  t.deepEqual(count(text, 1), { passed: 1, failed: 1, skipped: 1 })
})

test('a file that fails as a whole is a failure', t => {
  const text =
    '  ✔ a › fine\n\n  Uncaught exception in b.test.ts\n\n  ✘ b.test.ts exited with a non-zero exit code: 1\n  ─\n  1 uncaught exception\n'
  t.deepEqual(count(text, 1), { passed: 1, failed: 1, skipped: 0 })
})

test('a run without its end is a failure, and so is a bad exit code alone', t => {
  t.deepEqual(count('  ✔ a › fine\n', 0), { passed: 1, failed: 1, skipped: 0 })
  t.deepEqual(count('  ✔ a › fine\n  ─\n\n  1 test passed\n', 1), { passed: 1, failed: 1, skipped: 0 })
  t.deepEqual(count('', 0), { passed: 0, failed: 1, skipped: 0 })
})

test('a good run is counted as it is', t => {
  t.deepEqual(count('  ✔ a › fine\n  ✔ a › too\n  ─\n\n  2 tests passed\n', 0), { passed: 2, failed: 0, skipped: 0 })
})
