import { type ChildProcess, fork } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'

interface ChildOptions {
  env: NodeJS.ProcessEnv
  imports?: readonly string[]
  /** File that its output is added to; nowhere unless given. */
  log?: string
  /** Hears of an end that was not asked for. */
  onExit: (why: string) => void
}

/** A process of the campaign, started again and again on the same settings. */
export class Child {
  readonly #file: string
  readonly #args: readonly string[]
  readonly #options: ChildOptions
  #process: ChildProcess | undefined
  /** Ends that somebody asked for. */
  #wanted = new WeakSet<ChildProcess>()

  constructor(file: string, args: readonly string[], options: ChildOptions) {
    this.#file = file
    this.#args = args
    this.#options = options
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  get running(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null
  }

  /** Resolves with its first message; rejects when it ends or says that it failed. */
  start<T extends object>(): Promise<T> {
    const { env, imports = [], log, onExit } = this.#options
    const output = log === undefined ? 'ignore' : openSync(log, 'a')
    const child = fork(this.#file, this.#args, {
      env: { ...process.env, ...env },
      execArgv: imports.flatMap((file) => ['--import', file]),
      stdio: ['ignore', process.env.MUSTER_TEST_LOGS ? 'inherit' : output, 'inherit', 'ipc'],
    })
    if (typeof output === 'number') closeSync(output)
    this.#process = child
    return new Promise((resolve, reject) => {
      let ready = false
      child.once('message', (message: T & { failed?: string; detail?: string }) => {
        ready = message.failed === undefined
        if (ready) resolve(message)
        else reject(new Error(message.detail))
      })
      child.once('exit', (code, signal) => {
        const why = `${this.#args[0] ?? 'process'} ${child.pid} ended: ${signal ?? `exit ${code}`}`
        if (!ready) reject(new Error(why))
        else if (!this.#wanted.has(child)) onExit(why)
      })
    })
  }

  /** Sends a signal that does not end it. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process?.kill(signal)
  }

  tell(message: object): void {
    if (this.#process?.connected) this.#process.send(message, () => {})
  }

  /** Ends it and waits for that: politely with SIGTERM, and by force after 15 s. */
  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#process
    if (!child || !this.running) return
    this.#wanted.add(child)
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    const late = setTimeout(() => child.kill('SIGKILL'), 15_000)
    await ended
    clearTimeout(late)
  }
}
