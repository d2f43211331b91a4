import { type AuditRecord, auditRecord } from '@muster/protocol'

/** So much later a worker may write down what it decides by, or go on by what it did before, ms. */
const LATE_MS = 60_000

/** By which policies each worker said that it decides, in the tenant's record book. */
export class PoliciesUsed {
  readonly #used = new Map<string, { at: number; set: string }[]>()

  /** A record of the book, in its order. */
  record(record: AuditRecord): void {
    const { action, about, by, at } = record
    if (action !== 'policy.used' || typeof about.set !== 'string') return
    const used = this.#used.get(by.key)
    if (used) used.push({ at, set: about.set })
    else this.#used.set(by.key, [{ at, set: about.set }])
  }

  /** Why a worker may not have decided by this set then; undefined where it said so, or the book says of no worker. */
  whyNot(worker: string, set: string, at: number): string | undefined {
    if (this.#used.size === 0) return undefined
    const used = (this.#used.get(worker) ?? []).filter((one) => one.at <= at + LATE_MS)
    // Without those that others had taken the place of by then.
    const near = used.slice(
      Math.max(
        used.findLastIndex((one) => one.at < at - LATE_MS),
        0,
      ),
    )
    if (near.some((one) => one.set === set)) return undefined
    const said = near.at(-1)
    return said
      ? `worker ${worker} had said that it decides by the set ${said.set}, and decided by ${set}`
      : `worker ${worker} decided by the set ${set}, and has not said so in the record book`
  }
}

/** Undefined for what is no record. */
export function recordOf(value: unknown): AuditRecord | undefined {
  return auditRecord.safeParse(value).data
}
