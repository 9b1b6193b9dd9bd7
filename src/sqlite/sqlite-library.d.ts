/**
 * The part of better-sqlite3-multiple-ciphers that database.ts uses; the package's own types aren't reachable through its
 * `exports`.
 */
declare module 'better-sqlite3-multiple-ciphers' {
  export class SqliteError extends Error {
    readonly code: string
  }

  export interface Statement<Row> {
    run(...parameters: unknown[]): { readonly changes: number; readonly lastInsertRowid: number | bigint }
    get(...parameters: unknown[]): Row | undefined
    all(...parameters: unknown[]): Row[]
    /** Answers the first column alone. */
    pluck(): this
    /** Answers rows as arrays. */
    raw(): this
  }

  export default class Sqlite {
    static readonly SqliteError: typeof SqliteError
    constructor(path: string, options?: { readonly timeout?: number; readonly readonly?: boolean; readonly fileMustExist?: boolean })
    readonly open: boolean
    readonly inTransaction: boolean
    prepare<Row>(sql: string): Statement<Row>
    exec(sql: string): this
    pragma(sql: string, options?: { readonly simple?: boolean }): unknown
    key(key: Buffer): number
    close(): this
  }
}
