/**
 * Questions about the whole index: sizes, paths, what contradicts itself. Owns: the questions; they may take long.
 */
import type { Database } from '../../../../sqlite/database.ts'
import type { Name } from '../../../contract.ts'
import type { NodeId } from './changes.ts'

export interface IndexNumbers {
  readonly nodes: number
  readonly chunks: number
  readonly snapshots: number
  /** Bytes of all files, and of all snapshots' own, before anything is saved. */
  readonly contentBytes: number
  /** Bytes of chunks that something refers to, before compression. */
  readonly uniqueBytes: number
  /** The same as they are stored. */
  readonly storedBytes: number
}

export function indexNumbers(database: Database): IndexNumbers {
  const number = (sql: string): number => Number(database.prepare<{ n: number | null }>(`SELECT (${sql}) AS n`).get()?.n ?? 0)
  return {
    nodes: number('SELECT count(*) FROM nodes'),
    chunks: number('SELECT count(*) FROM chunks'),
    snapshots: number('SELECT count(*) FROM snapshots'),
    contentBytes: number('SELECT sum(length) FROM extents') + number('SELECT sum(length) FROM extents_past'),
    uniqueBytes: number('SELECT sum(length) FROM chunks WHERE refs > 0'),
    storedBytes: number('SELECT sum(stored) FROM chunks WHERE refs > 0'),
  }
}

/** All paths of a node, from the root, without a leading "/"; [] for one without a name. */
export function pathsOf(database: Database, node: NodeId, root: NodeId): Name[] {
  const names = database.prepare<{ parent: number; name: string }>('SELECT parent, name FROM entries WHERE node = ?')
  return names.all(node).map(({ parent, name }) => {
    let path = name
    for (let at = parent, depth = 0; at !== root && depth < 10_000; depth++) {
      const up = names.get(at)
      if (!up) break
      path = `${up.name}/${path}`
      at = up.parent
    }
    return path
  })
}

/** What is wrong with the index in itself, a line each. */
export function* problems(database: Database): Generator<string> {
  const questions: readonly [string, string][] = [
    ['names lead to nodes that are not there', 'SELECT count(*) FROM entries WHERE node NOT IN (SELECT id FROM nodes)'],
    ['names are in directories that are not there', 'SELECT count(*) FROM entries WHERE parent NOT IN (SELECT id FROM nodes)'],
    ['extents belong to nodes that are not there', 'SELECT count(*) FROM extents WHERE node NOT IN (SELECT id FROM nodes)'],
    ['attributes belong to nodes that are not there', 'SELECT count(*) FROM xattrs WHERE node NOT IN (SELECT id FROM nodes)'],
    ['extents name chunks that are not there', 'SELECT count(*) FROM extents WHERE chunk <> 0 AND chunk NOT IN (SELECT id FROM chunks)'],
    [
      'extents overlap',
      'SELECT count(*) FROM extents a JOIN extents b ON b.node = a.node AND b.position > a.position AND b.position < a.position + a.length',
    ],
    [
      'extents reach behind their chunk',
      'SELECT count(*) FROM extents JOIN chunks ON chunks.id = chunk WHERE start + extents.length > chunks.length',
    ],
    ['chunks are in packs that are not there', 'SELECT count(*) FROM chunks WHERE pack NOT IN (SELECT id FROM packs)'],
    [
      'chunks are counted wrong',
      `SELECT count(*) FROM chunks LEFT JOIN (SELECT chunk, count(*) AS n FROM
       (SELECT chunk FROM extents UNION ALL SELECT chunk FROM extents_past) GROUP BY chunk) ON chunk = id WHERE refs <> coalesce(n, 0)`,
    ],
    [
      'packs are counted wrong',
      'SELECT count(*) FROM packs LEFT JOIN (SELECT pack, sum(stored) AS n FROM chunks GROUP BY pack) ON pack = id WHERE live <> coalesce(n, 0)',
    ],
  ]
  for (const [what, sql] of questions) {
    const count = database.prepare<number>(sql).pluck().get() ?? 0
    if (count > 0) yield `${count} ${what}`
  }
}
