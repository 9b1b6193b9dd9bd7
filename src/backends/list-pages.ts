/**
 * A listing, page after page, without waiting in between.
 * Owns: the one page that is fetched ahead while the one before is worked on: so a listing takes as long as its calls take.
 */
import type { Backend, ListOptions, ListPage } from './contract.ts'

/** All pages from `continuation` (or the start) on. Whoever stops early ends the call that is under way. */
export async function* listPages(backend: Backend, options: ListOptions = {}): AsyncGenerator<ListPage> {
  const stop = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal
  const ask = (continuation: string | undefined) => backend.list({ ...options, continuation, signal })
  let coming: Promise<ListPage> | undefined = ask(options.continuation)
  try {
    while (coming) {
      const page: ListPage = await coming
      coming = page.next === undefined ? undefined : ask(page.next)
      // Its failure is reported when it is its turn.
      coming?.catch(() => {})
      yield page
    }
  } finally {
    stop.abort()
  }
}
