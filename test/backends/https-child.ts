/** Speaks HTTPS to a server whose certificate this process was told to trust, and prints what it got. */
import { hash } from 'node:crypto'
import { HttpPool } from '../../src/backends/http/pool.ts'

const pool = new HttpPool({ secure: true, host: 'localhost', port: Number(process.argv[2]) })
const body = Buffer.alloc(3_000_000, 'sdmount')
for (let i = 0; i < 3; i++) {
  const chunks: Buffer[] = []
  await pool.request(
    { method: 'PUT', target: '/echo', headers: { host: 'localhost' }, body },
    { head: () => {}, data: chunk => void chunks.push(Buffer.from(chunk)) },
    { signal: undefined, repeatable: true },
  )
  console.log(hash('sha256', Buffer.concat(chunks)) === hash('sha256', body), pool.load.connections)
}
pool.close()
