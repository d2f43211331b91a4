import { loadPolicies, type PolicySet } from '@muster/governance'
import type { Journal } from '@muster/journal'
import { MusterError, type PolicySource, toMusterError } from '@muster/protocol'
import type { Logger } from 'pino'

/** So often it is looked whether the policies, or the tools that workers carry, have changed, ms. */
const LOOK_MS = 2000

export interface GatewayPoliciesOptions {
  journal: Journal
  /** As they are now. */
  sources: () => readonly PolicySource[]
  use: (set: PolicySet) => void
  log: Logger
}

/**
 * The policies by which a gateway decides, as their files are: checked against the tools that workers have published, since
 * it carries none itself. Until they have been valid once, nothing is let through.
 */
export class GatewayPolicies {
  readonly #options: GatewayPoliciesOptions
  #timer: NodeJS.Timeout | undefined
  #seen = ''
  #isReady = false
  #closed = false
  #problem = 'its policies were not read yet'

  constructor(options: GatewayPoliciesOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    await this.#look()
    const again = () => {
      if (!this.#closed) this.#timer = setTimeout(() => void this.#look().finally(again), LOOK_MS)
    }
    again()
  }

  /** @throws MusterError `gateway.not_ready` */
  check(): void {
    if (!this.#isReady) throw new MusterError('gateway.not_ready', `The gateway is not ready: ${this.#problem}`)
  }

  async #look(): Promise<void> {
    const { journal, sources, use, log } = this.#options
    try {
      const found = sources()
      const { definitions, tools } = await journal.manifest()
      const seen = JSON.stringify([found, tools])
      if (seen === this.#seen || this.#closed) return
      this.#seen = seen
      const set = loadPolicies(found, { hash: '', definitions, tools })
      await journal.publishPolicies(set.published)
      use(set)
      this.#isReady = true
      log.info({ set: set.hash, policies: set.policies.size }, 'the gateway decides by these policies from now on')
    } catch (error) {
      const { code, message } = toMusterError(error)
      this.#problem = message
      // Told once for each change; what does not depend on the files is tried again.
      if (code !== 'policy.invalid') this.#seen = ''
      log.error({ err: error }, 'the gateway has not taken up policies; those before hold')
    }
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }
}
