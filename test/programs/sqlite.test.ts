/** Real programs: SQLite in WAL mode and with a rollback journal, several processes at once, one of them killed. */
import { ORDINARY, PASSTHROUGH, type Place, program, THROUGH_DAEMON } from './suite.ts'

const NEEDS = ['sqlite3', 'sh', 'seq']

const schema = (mode: string) =>
  `PRAGMA journal_mode=${mode}; CREATE TABLE t (id INTEGER PRIMARY KEY, writer TEXT, body BLOB); CREATE INDEX by_writer ON t(writer, id);`

/** A process that inserts rows, each in its own transaction, waiting for the lock of the others. */
function writer(place: Place, name: string, rows: number) {
  const insert = `INSERT INTO t(writer, body) VALUES ('${name}', randomblob(900));`
  const work = `.timeout 60000\nPRAGMA synchronous=NORMAL;\n${`${insert}\n`.repeat(rows)}`
  return place.run('sqlite3', ['-bail', 'test.db'], { input: work })
}

for (const mode of ['wal', 'delete'])
  program(`SQLite, journal mode ${mode}: two writers and a reader at once`, { needs: NEEDS }, async place => {
    const { t, run } = place
    await run('sqlite3', ['-bail', 'test.db', schema(mode)])
    const rows = mode === 'wal' ? 400 : 60
    const reader = `.timeout 60000\n${'SELECT count(*) FROM t WHERE writer = (SELECT min(writer) FROM t);\n'.repeat(100)}`
    await Promise.all([writer(place, 'anna', rows), writer(place, 'bert', rows), run('sqlite3', ['-bail', 'test.db'], { input: reader })])
    t.is(
      await run('sqlite3', ['test.db', 'PRAGMA integrity_check; SELECT writer, count(*) FROM t GROUP BY writer;']),
      `ok\nanna|${rows}\nbert|${rows}\n`,
    )
    await run('sqlite3', ['test.db', 'DELETE FROM t WHERE id % 2; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);'])
    t.is(await run('sqlite3', ['test.db', 'PRAGMA integrity_check; SELECT count(*) FROM t;']), `ok\n${rows}\n`)
  })

program('SQLite with its file mapped into memory', { needs: NEEDS, in: [THROUGH_DAEMON, ORDINARY] }, async place => {
  const { t, run } = place
  await run('sqlite3', ['-bail', 'test.db', schema('wal')])
  const fill =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT i, 'w' || (i % 7), randomblob(200) FROM n;"
  await run('sqlite3', ['-bail', 'test.db', `PRAGMA mmap_size=268435456; ${fill} UPDATE t SET body = zeroblob(100) WHERE id % 3 = 0;`])
  t.is(
    await run('sqlite3', ['test.db', 'PRAGMA mmap_size=268435456; PRAGMA integrity_check; SELECT count(*) FROM t;']),
    '268435456\nok\n20000\n',
  )
  t.is(await run('sqlite3', ['test.db', 'PRAGMA integrity_check;']), 'ok\n')
})

program('SQLite: a writer is killed in the middle of its work', { needs: NEEDS, in: [PASSTHROUGH, THROUGH_DAEMON] }, async place => {
  const { t, run, start } = place
  await run('sqlite3', ['-bail', 'test.db', schema('wal')])
  for (let round = 1; round <= 3; round++) {
    const endless = start('sh', [
      '-c',
      "while :; do echo \"INSERT INTO t(writer, body) VALUES ('killed', randomblob(5000)); SELECT 'row ' || last_insert_rowid();\"; done | sqlite3 test.db",
    ])
    await endless.says('row ')
    await new Promise(resolve => setTimeout(resolve, 150))
    endless.kill()
    await endless.ended
    const told = Number([...endless.output.matchAll(/row (\d+)\n/g)].at(-1)?.[1])
    const [check, largest] = (await run('sqlite3', ['test.db', 'PRAGMA integrity_check; SELECT max(id) FROM t;'])).trim().split('\n')
    t.is(check, 'ok')
    t.true(Number(largest) >= told, `row ${told} was told, the last one there is ${largest}`)
  }
})
