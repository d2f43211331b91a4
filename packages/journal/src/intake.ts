import { type ActivationOptions, Activations } from './activations.ts'
import { connect, type JournalRedis } from './commands.ts'
import type { Journal } from './journal.ts'
import { MailBell } from './mail-bell.ts'
import { Places } from './places.ts'

/** Takes activations from all partitions, up to one number of runs in all. */
export class Intake {
  readonly #connection: JournalRedis
  readonly #bell: MailBell
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
    this.#bell = new MailBell(journal, options)
  }

  async ready(): Promise<void> {
    await Promise.all(this.#activations.map((activations) => activations.ready()))
  }

  /** Takes no new runs; waits for those at hand. */
  async close(): Promise<void> {
    await Promise.all(this.#activations.map((activations) => activations.close()))
    this.#bell.close()
    // BullMQ leaves open what it was given.
    this.#connection.disconnect()
  }
}
