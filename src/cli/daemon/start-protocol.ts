/**
 * What passes between a command and the daemon that it starts: one socket, JSON lines.
 *   to the daemon: its settings, one line
 *   back: {"notice":"..."} any number; then {"ready":true} or {"failure":{"exit":"...","message":"..."}}
 * The socket's end without either is a daemon that died while it started.
 */
import type { LogLevel } from '../../log.ts'
import type { ExitName } from '../exit-codes.ts'
import type { DaemonSettings } from './serve.ts'

/** The descriptor of the socket in the daemon. */
export const START_DESCRIPTOR = 3

/** The word that makes the program the daemon; not for people. */
export const DAEMON_WORD = '--daemon'

export interface StartRequest {
  readonly settings: DaemonSettings
  readonly logLevel: LogLevel
}

export type StartMessage =
  | { readonly notice: string }
  | { readonly ready: true }
  | { readonly failure: { readonly exit: ExitName; readonly message: string } }
