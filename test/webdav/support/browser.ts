/**
 * A headless browser, driven over its debugging protocol with Node's own WebSocket.
 * Owns: the browser process and its profile. Must stay true: it ends with `close`, and nothing of it stays.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findTool } from './tools.ts'

const START_MS = 60_000

interface Pending {
  resolve(result: Record<string, unknown>): void
  reject(error: Error): void
}

export class Browser {
  readonly #child: ChildProcess
  readonly #profile: string
  readonly #socket: WebSocket
  readonly #pending = new Map<number, Pending>()
  #session = ''
  #lastId = 0
  /** What the page complained of: errors, and what its policy refused. */
  readonly complaints: string[] = []

  static async start(): Promise<Browser> {
    const profile = mkdtempSync(join(tmpdir(), 'sdmount-browser-'))
    const settings = [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--remote-debugging-port=0',
    ]
    const child = spawn(findTool('chromium') ?? 'chromium', [...settings, `--user-data-dir=${profile}`, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const address = await new Promise<string>((resolve, reject) => {
      let text = ''
      const fail = () => {
        child.kill('SIGKILL')
        rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
        reject(new Error(`the browser did not start: ${text.slice(-500)}`))
      }
      const timer = setTimeout(fail, START_MS)
      child.on('error', reject)
      child.stderr!.on('data', chunk => {
        text += chunk
        const found = /DevTools listening on (ws:\S+)/.exec(text)?.[1]
        if (found === undefined) return
        clearTimeout(timer)
        resolve(found)
      })
    })
    const socket = new WebSocket(address)
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve)
      socket.addEventListener('error', reject)
    })
    const browser = new Browser(child, profile, socket)
    const { targetId } = await browser.#send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await browser.#send('Target.attachToTarget', { targetId, flatten: true })
    browser.#session = String(sessionId)
    for (const domain of ['Page', 'Runtime', 'Log']) await browser.#send(`${domain}.enable`)
    return browser
  }

  private constructor(child: ChildProcess, profile: string, socket: WebSocket) {
    this.#child = child
    this.#profile = profile
    this.#socket = socket
    socket.addEventListener('message', event => this.#receive(JSON.parse(String(event.data))))
  }

  /** Opens an address; resolves when it is loaded. */
  async open(url: string): Promise<void> {
    await this.#send('Page.navigate', { url })
    await this.#loaded(url)
  }

  /** The value of an expression in the page, as JSON. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result } = await this.#send('Runtime.evaluate', {
      expression: `(async () => JSON.stringify(${expression}))()`,
      awaitPromise: true,
    })
    const { value } = result as { readonly value?: string }
    return (value === undefined ? undefined : JSON.parse(value)) as T
  }

  /** Clicks the first element that matches, and waits for the page that it leads to. */
  async follow(selector: string): Promise<void> {
    const href = await this.evaluate<string>(`document.querySelector(${JSON.stringify(selector)}).href`)
    await this.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`)
    await this.#loaded(href)
  }

  async close(): Promise<void> {
    const exited = new Promise(resolve => this.#child.once('exit', resolve))
    this.#socket.close()
    this.#child.kill('SIGKILL')
    await exited
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  }

  async #loaded(url: string): Promise<void> {
    for (let attempt = 0; attempt < 1200; attempt++) {
      const state = await this.evaluate<{ href: string; ready: string }>('({ href: location.href, ready: document.readyState })').catch(
        () => undefined,
      )
      if (state?.href === url && state.ready === 'complete') return
      await new Promise(resolve => setTimeout(resolve, 50))
    }
    throw new Error(`${url} was not loaded`)
  }

  #send(method: string, parameters: object = {}): Promise<Record<string, unknown>> {
    const id = ++this.#lastId
    this.#socket.send(JSON.stringify({ id, method, params: parameters, ...(this.#session ? { sessionId: this.#session } : {}) }))
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }))
  }

  #receive(message: {
    id?: number
    error?: { message: string }
    result?: Record<string, unknown>
    method?: string
    params?: Record<string, unknown>
  }): void {
    if (message.id !== undefined) {
      const pending = this.#pending.get(message.id)
      this.#pending.delete(message.id)
      if (message.error) pending?.reject(new Error(message.error.message))
      else pending?.resolve(message.result ?? {})
    }
    if (message.method === 'Log.entryAdded')
      this.complaints.push(JSON.stringify((message.params as { entry: { text: string } }).entry.text))
    if (message.method === 'Runtime.exceptionThrown' || message.method === 'Page.javascriptDialogOpening')
      this.complaints.push(message.method)
  }
}
