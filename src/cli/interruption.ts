/** Signals that ask the process to end, as an AbortSignal. Owns: the handlers; make it once. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Aborted by the first of them; later ones are passed over, the end is under way. */
export function interruption(): AbortSignal {
  const controller = new AbortController()
  for (const signal of SIGNALS) process.on(signal, () => controller.abort())
  return controller.signal
}
