/** A cloud volume over a real server does what every volume must do; two machines on one bucket. */
import test from 'ava'
import { composeBackend } from '../../../src/backends/compose.ts'
import { S3Backend } from '../../../src/backends/s3/s3-backend.ts'
import { type S3Server, s3Server } from '../../support/s3-server.ts'
import { context, volumeSuite } from '../volume-contract.ts'
import { contentOf, TestGround } from './cloud-ground.ts'

const server = await s3Server()

if (typeof server === 'string')
  test('skipped', t => {
    t.log(`skipped: ${server}`)
    t.pass()
  })
else {
  volumeSuite('cloud over S3', async () => {
    const backend = composeBackend(new S3Backend(await server.bucket()))
    const ground = new TestGround({ backend })
    return {
      volume: ground.volume,
      async dispose() {
        await ground.drained()
        await ground.close()
        backend.close()
      },
    }
  })

  test('what one machine writes, another sees with mode and time, and both versions of a conflict survive', async t => {
    const settings = await (server as S3Server).bucket()
    const backends = [0, 1].map(() => composeBackend(new S3Backend(settings)))
    const [here, there] = backends.map(backend => new TestGround({ backend }))
    t.teardown(async () => {
      await here!.close()
      await there!.close()
      for (const backend of backends) backend.close()
    })
    const write = async (ground: TestGround, name: string, text: string) => {
      const { volume } = ground
      const { entry, file } = await volume.create(context, volume.rootIno, name, 0o640, 2)
      await file.write(context, 0, Buffer.from(text), {})
      await file.flush(context)
      await file.release()
      return entry.attributes.ino
    }
    const ino = await write(here!, 'note.txt', 'first')
    await here!.volume.setattr(context, ino, { mtime: { sec: 1_000_000_000, nsec: 123_456_789 } })
    await here!.drained()
    await there!.volume.refresh()
    const found = await there!.volume.lookup(context, there!.volume.rootIno, 'note.txt')
    t.is(found!.attributes.mode & 0o777, 0o640)
    t.is(found!.attributes.mtimeSec, 1_000_000_000)
    t.is(found!.attributes.mtimeNsec, 123_456_789)
    t.is((await contentOf(there!.volume, found!.attributes.ino)).toString(), 'first')
    await Promise.all([write(here!, 'note.txt', 'from here'), write(there!, 'note.txt', 'from there')])
    await Promise.all([here!.drained(), there!.drained()])
    await Promise.all([here!.volume.refresh(), there!.volume.refresh()])
    for (const ground of [here!, there!]) {
      const { volume } = ground
      const contents: string[] = []
      for (const { name, attributes } of ground.index.children(volume.rootIno, undefined, 10)) {
        t.regex(name, /^note(\.conflict-here-\d{4}-\d\d-\d\d-\d{6})?\.txt$/)
        contents.push((await contentOf(volume, attributes.ino)).toString())
      }
      t.deepEqual(contents.sort(), ['from here', 'from there'])
    }
  })
}
