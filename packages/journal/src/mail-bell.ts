import { connect, type JournalRedis } from './commands.ts'
import type { Journal } from './journal.ts'

/** So often the connection that only listens is asked whether it lives, ms. */
const ASK_MS = 2000

export interface MailBellOptions {
  /** There is a message for a run that this process may hold. */
  onMail: (run: string) => void
  /** Such messages may have been missed. */
  onMailLost: () => void
  onError: (error: Error) => void
}

/** Rings when a message is left for a run, in every process that may hold it. */
export class MailBell {
  readonly #connection: JournalRedis
  readonly #asking: NodeJS.Timeout

  constructor({ partitions, url }: Journal, { onMail, onMailLost, onError }: MailBellOptions) {
    this.#connection = connect(url)
    this.#connection.on('message', (_channel: string, run: string) => onMail(run))
    // Nothing is due on a connection that only listens, unless it is asked.
    this.#asking = setInterval(() => this.#connection.ping().catch(() => {}), ASK_MS)
    // What was told while it was away is in the inboxes.
    this.#connection.on('ready', onMailLost)
    this.#connection.subscribe(...partitions.map(({ keys }) => keys.mail)).catch(onError)
  }

  close(): void {
    clearInterval(this.#asking)
    this.#connection.disconnect()
  }
}
