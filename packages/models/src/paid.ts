import { MusterError, type Usage, type Via } from '@muster/protocol'

interface Spent {
  usage: Usage
  /** As the provider names the model that answered. */
  model: string
  costUsd: number
  via?: Via
}

/** What a call has failed with whose answer came, and was paid for: it was cut short or stopped, says nothing, or was blocked. */
export class Paid extends MusterError {
  readonly spent: Spent

  constructor(error: MusterError, { usage, model, costUsd, via }: Spent) {
    const { code, message, issues, retryAfterMs, cause } = error
    super(code, message, { ...(issues ? { issues } : {}), retryAfterMs, cause })
    this.spent = { usage, model, costUsd, ...(via ? { via } : {}) }
  }
}

/** An error with what was spent, as long as it is one that a user may see. */
export function paidFor(error: unknown, spent: Spent): unknown {
  return error instanceof MusterError ? new Paid(error, spent) : error
}

/** What is made of an answer that came, or why it is none, with what it has used. What that costs is known further up. */
export function readFrom<T>({ usage, model }: Pick<Spent, 'usage' | 'model'>, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw paidFor(error, { usage, model, costUsd: 0 })
  }
}
