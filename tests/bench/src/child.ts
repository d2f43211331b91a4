import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Sample, Task } from './subject.ts'
import type { subjects } from './subjects/index.ts'

type Subjects = typeof subjects
export type SubjectName = keyof Subjects
export type OptionsOf<N extends SubjectName> = Parameters<Subjects[N]>[0]

const file = fileURLToPath(new URL('./subject-process.ts', import.meta.url))

/** The parent's hold of a subject in a process of its own. */
export class Child {
  readonly #process: ChildProcess

  private constructor(child: ChildProcess) {
    this.#process = child
  }

  /** `execArgv` are flags of Node, for a profile. */
  static async start<N extends SubjectName>(
    subject: N,
    options: OptionsOf<N>,
    execArgv: readonly string[] = [],
  ): Promise<Child> {
    const child = new Child(fork(file, [], { execArgv: [...execArgv], stdio: ['ignore', 2, 2, 'ipc'] }))
    const redisUrl = 'redisUrl' in options ? options.redisUrl : undefined
    await child.#ask({ start: { subject, options, redisUrl } })
    return child
  }

  async sample(task: Task): Promise<Sample> {
    return (await this.#ask({ task })) as Sample
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = new Promise((resolve) => this.#process.once('exit', resolve))
    const late = setTimeout(() => this.#process.kill('SIGKILL'), 10_000)
    await this.#ask({ stop: true }).catch(() => this.#process.kill('SIGKILL'))
    await exited
    clearTimeout(late)
  }

  #ask(question: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#process.off('message', onMessage)
        this.#process.off('exit', onExit)
      }
      const onMessage = (reply: { answer?: unknown; error?: string }) => {
        done()
        if (reply.error === undefined) resolve(reply.answer)
        else reject(new Error(reply.error))
      }
      const onExit = (code: number | null, signal: string | null) => {
        done()
        reject(new Error(`a subject's process ended: ${signal ?? code}`))
      }
      this.#process.on('message', onMessage)
      this.#process.on('exit', onExit)
      this.#process.send(question)
    })
  }
}
