import { hash } from 'node:crypto'
import type { Memory } from '@muster/memory'
import {
  type AppManifest,
  appManifest,
  type BudgetsByName,
  type Json,
  type PublishedPolicies,
  sortedJson,
} from '@muster/protocol'
import type { Logger } from 'pino'
import { byWorker, type RecordBook } from './record-book.ts'

type Unpublished = Omit<PublishedPolicies, 'firstSeen'>

interface PolicyUseOptions {
  /** Those of the deployment. */
  budgets: BudgetsByName
  book: RecordBook
  memory: Memory
  worker: string
  log: Logger
  clock: () => number
}

/** Budgets that take more characters are not recorded. */
const BUDGETS_MAX = 16_384

/** After so long what could not be told is tried again, twice as long each time up to the second, ms. */
const AGAIN_MS = 500
const AGAIN_MAX_MS = 30_000

/** Tenants that are remembered: of one that is forgotten there is one record more. */
const TENANTS_MAX = 10_000

/**
 * Keeps the policies that a worker decides by for as long as its tenants' archives, and says in their record books that it
 * does, for which app, and under which budgets of the deployment. Off the path of runs: decisions name their set themselves.
 */
export class PolicyUse {
  readonly #options: PolicyUseOptions
  readonly #told = new Set<string>()
  readonly #underWay = new Set<Promise<void>>()
  /** What could not be told, by when it is tried again. */
  readonly #again = new Map<NodeJS.Timeout, { tenant: string; set: Unpublished }>()
  #closed = false
  #set: Unpublished

  constructor(set: Unpublished, options: PolicyUseOptions) {
    this.#set = set
    this.#options = options
  }

  use(set: Unpublished): void {
    this.#set = set
    this.#told.clear()
  }

  /** A run of this tenant is decided on. */
  seen(tenant: string): void {
    if (this.#told.has(tenant)) return
    if (this.#told.size >= TENANTS_MAX) this.#told.clear()
    this.#told.add(tenant)
    this.#keepTelling(tenant, this.#set)
  }

  /** Tells what is yet to be told, once more where it could not be before. */
  async close(): Promise<void> {
    this.#closed = true
    for (const [timer, { tenant, set }] of this.#again) {
      clearTimeout(timer)
      this.#keepTelling(tenant, set)
    }
    this.#again.clear()
    await Promise.all(this.#underWay)
  }

  /** Until it is told: what was decided says by which set, and an auditor looks who said that they do. */
  #keepTelling(tenant: string, set: Unpublished, waitMs = AGAIN_MS): void {
    const telling = this.#tell(tenant, set)
      .catch((error) => {
        this.#options.log.warn({ tenant, err: error }, 'policies not archived yet; it is tried again')
        if (this.#closed) return
        const timer = setTimeout(() => {
          this.#again.delete(timer)
          this.#keepTelling(tenant, set, Math.min(2 * waitMs, AGAIN_MAX_MS))
        }, waitMs).unref()
        this.#again.set(timer, { tenant, set })
      })
      .finally(() => this.#underWay.delete(telling))
    this.#underWay.add(telling)
  }

  async #tell(tenant: string, set: Unpublished): Promise<void> {
    const { book, memory, worker, clock, budgets } = this.#options
    const about = { set: set.hash, app: digestOf(set.app), ...ofTenant(tenant, budgets) }
    // First, so that of whatever is archived, somebody has said so.
    await book.append(tenant, { at: clock(), by: byWorker(worker), action: 'policy.used', about })
    await memory.policies.put(tenant, set.hash, JSON.stringify({ firstSeen: clock(), ...set }))
  }
}

/** The hash of a set is over its policies and schema: this is over all else that an auditor reads of it, as the verifier does. */
function digestOf(app: AppManifest): string {
  return hash('sha256', sortedJson(appManifest.parse(app)), 'hex')
}

/** Without what is of other tenants. */
function ofTenant(tenant: string, budgets: BudgetsByName): { budgets?: Json } {
  const own = Object.entries(budgets).filter(
    ([name]) => !name.startsWith('tenant:') || name === 'tenant:*' || name === `tenant:${tenant}`,
  )
  const text = JSON.stringify(Object.fromEntries(own))
  return text.length > BUDGETS_MAX ? {} : { budgets: JSON.parse(text) }
}
