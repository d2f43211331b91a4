import type { ActiveRun } from './active-run.ts'
import { type ChildReport, readChild } from './child.ts'
import { receive } from './messages.ts'

const AGAIN_MS = 1000

/** What comes for a run from outside while this worker holds it. Read in order, and taken away with the entries that tell of it. */
export class Inbox {
  readonly #run: ActiveRun
  #mayRead = false
  #isReading = false
  #hasMail = false
  /** Messages came before the run was taken, and are not read yet: one may be to pause it. */
  #unread = false

  constructor(run: ActiveRun) {
    this.#run = run
  }

  get isReading(): boolean {
    return this.#isReading
  }

  get isUnread(): boolean {
    return this.#unread
  }

  /** The run is taken, and so many messages wait. */
  found(messages: number): void {
    this.#unread = messages > 0
    this.#hasMail ||= messages > 0
  }

  /** From now on it is read: what came before is told as well. */
  open(): void {
    this.#mayRead = true
    if (this.#hasMail) this.come()
  }

  /** Messages have come, or may have. */
  come(): void {
    this.#hasMail = true
    if (!this.#isReading && this.#mayRead && !this.#run.over) void this.#read()
  }

  async #read(): Promise<void> {
    const run = this.#run
    const { journal, controls, log } = run.services
    this.#isReading = true
    try {
      while (this.#hasMail && !run.over) {
        this.#hasMail = false
        const messages = await journal.messages(run.id)
        if (messages.length === 0) {
          this.#isRead()
          continue
        }
        if (messages.some(({ type }) => type === 'lifted')) await controls.refresh()
        const children = new Map<string, ChildReport>()
        for (const message of messages) {
          if (message.type === 'child')
            children.set(message.run, await readChild(run.services, run.tenant, message.run))
        }
        if (run.over) return
        run.takeMail(messages.length)
        let seq = 0
        for (const message of messages) {
          if (run.over) break
          receive(run, message, children)
          seq = run.seq
        }
        this.#isRead()
        // Read the inbox again only when what was taken from it is gone.
        await new Promise<void>((resolve) => run.whenDurable(seq, resolve))
        this.#hasMail = true
      }
    } catch (error) {
      log.warn({ run: run.id, err: error }, 'inbox not read; it is tried again')
      setTimeout(() => this.come(), AGAIN_MS).unref()
    } finally {
      this.#isReading = false
    }
    run.considerPark()
  }

  #isRead(): void {
    if (!this.#unread) return
    this.#unread = false
    this.#run.goOn()
  }
}
