import { type ActivationOptions, Activations } from './activations.ts'
import { connect, type JournalRedis } from './commands.ts'
import type { Journal } from './journal.ts'
import { Places } from './places.ts'

/** So often the connection that only listens is asked whether it lives, ms. */
const ASK_MS = 2000

/** Takes activations from all partitions, up to one number of runs in all. */
export class Intake {
  readonly #connection: JournalRedis
  readonly #mail: JournalRedis
  readonly #asking: NodeJS.Timeout
  readonly #activations: Activations[]

  constructor(journal: Journal, options: ActivationOptions) {
    const { partitions, url } = journal
    const places = new Places(options.concurrency)
    this.#connection = connect(url)
    // As many wait in BullMQ as this worker holds: a tenant's run is behind no more of another's.
    const window = Math.ceil(options.concurrency / partitions.length)
    this.#activations = partitions.map(
      (partition) =>
        new Activations(partition, { places: places.share(), connection: this.#connection, window }, options),
    )
    this.#mail = connect(url)
    this.#mail.on('message', (_channel: string, run: string) => options.onMail(run))
    // Nothing is due on a connection that only listens, unless it is asked.
    this.#asking = setInterval(() => this.#mail.ping().catch(() => {}), ASK_MS)
    // What was told while it was away is in the inboxes.
    this.#mail.on('ready', options.onMailLost)
    this.#mail.subscribe(...partitions.map(({ keys }) => keys.mail)).catch(options.onError)
  }

  async ready(): Promise<void> {
    await Promise.all(this.#activations.map((activations) => activations.ready()))
  }

  /** Takes no new runs; waits for those at hand. */
  async close(): Promise<void> {
    await Promise.all(this.#activations.map((activations) => activations.close()))
    clearInterval(this.#asking)
    this.#mail.disconnect()
    // BullMQ leaves open what it was given.
    this.#connection.disconnect()
  }
}
