import type { Memory } from '@muster/memory'
import { type Erasure, MusterError } from '@muster/protocol'

/** How long a server or worker may take to see that runs of a subject are refused, ms. */
export const REFUSAL_SEEN_MS = 1000

interface OfSubject {
  tenant: string
  subject?: string | undefined
}

/** Refuses runs of what is being erased. What it has read it trusts for as long as an erasure waits before it begins. */
export class Refusals {
  readonly #memory: Memory
  readonly #known = new Map<string, { until: number; open: Promise<Erasure[]>; isNone: boolean }>()

  constructor(memory: Memory) {
    this.#memory = memory
  }

  /**
   * Gives a promise where that has to be looked up.
   *
   * @throws MusterError `subject.erased`; of a run with a subject, `memory.unavailable` where nobody can tell
   */
  check(run: OfSubject): Promise<void> | undefined {
    const known = this.#known.get(run.tenant)
    return known?.isNone && known.until > performance.now() ? undefined : this.#check(run)
  }

  async #check(run: OfSubject): Promise<void> {
    if (!(await this.#find(run))) return
    // It may be done since: who has heard of that is not refused any more.
    this.#known.delete(run.tenant)
    const found = await this.#find(run)
    if (!found) return
    const whose = found.subject === undefined ? 'All content of this tenant' : 'Content of this subject'
    throw new MusterError('subject.erased', `${whose} is being erased, by ${found.by.user}: erasure ${found.id}`)
  }

  async #find({ tenant, subject }: OfSubject): Promise<Erasure | undefined> {
    const open = await this.#open(tenant).catch((error) => {
      // Erasing a tenant begins with ending what it has: what begins now is seen then.
      if (subject === undefined) return []
      throw error
    })
    return open.find((one) => one.tenant !== undefined || (subject !== undefined && one.subject === subject))
  }

  /** Something begins to be erased: others hear of it when their time is over. */
  begins(tenant: string): void {
    this.#known.delete(tenant)
  }

  #open(tenant: string): Promise<Erasure[]> {
    const now = performance.now()
    const known = this.#known.get(tenant)
    if (known && known.until > now) return known.open
    const open = this.#memory.erasures.openOf(tenant).then((all) => {
      looked.isNone = all.length === 0
      return all.map((one) => one.erasure)
    })
    const looked = { until: now + REFUSAL_SEEN_MS, open, isNone: false }
    this.#known.set(tenant, looked)
    open.catch(() => this.#known.delete(tenant))
    return open
  }
}
