import { type ChildProcess, fork } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { MusterError } from '@muster/protocol'
import type { ServiceMessage } from './service-command.ts'

const main = new URL('../main.ts', import.meta.url).pathname
/** How long a child may take to stop before it is killed, ms. */
const STOP_MS = 15_000
const RESTART_MS = 500

/** A server or worker in a process of its own, started again when it dies, its output in a log file. */
export class Child {
  readonly #command: string
  readonly #env: NodeJS.ProcessEnv
  readonly #log: string
  readonly #onDeath: (why: string) => void
  readonly #ending: AbortSignal
  #process: ChildProcess | undefined

  /** Once `ending` is aborted it is not started again: who ends all processes tells it too, before its turn to stop. */
  constructor(
    command: string,
    options: { env: NodeJS.ProcessEnv; log: string; onDeath: (why: string) => void; ending: AbortSignal },
  ) {
    this.#command = command
    this.#env = options.env
    this.#log = options.log
    this.#onDeath = options.onDeath
    this.#ending = options.ending
  }

  /** Resolves when the child is ready; throws what it failed with. */
  start(): Promise<{ url?: string }> {
    return new Promise((resolve, reject) => {
      let ready = false
      const log = openSync(this.#log, 'a', 0o600)
      const child = fork(main, [this.#command], { env: this.#env, stdio: ['ignore', log, log, 'ipc'] })
      closeSync(log)
      this.#process = child
      child.on('message', (message: ServiceMessage) => {
        if ('failed' in message) reject(new MusterError(message.failed, message.detail))
        else {
          ready = true
          resolve(message.url === undefined ? {} : { url: message.url })
        }
      })
      child.on('exit', (code, signal) => {
        if (!ready)
          reject(
            new MusterError(
              'internal',
              `the ${this.#command} ended at its start (${signal ?? `exit ${code}`}): see ${this.#log}`,
            ),
          )
        else if (!this.#ending.aborted) {
          this.#onDeath(signal ?? `exit ${code}`)
          setTimeout(() => {
            if (!this.#ending.aborted) this.start().catch((error) => this.#onDeath(String(error)))
          }, RESTART_MS)
        }
      })
    })
  }

  async stop(): Promise<void> {
    const child = this.#process
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    await ended
    clearTimeout(late)
  }
}
