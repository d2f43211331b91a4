import type { Journal } from './journal.ts'
import type { Partition } from './partition.ts'
import { SharedCalls } from './shared-calls.ts'
import { tenantPartition } from './tenant-partition.ts'

/** What an account counts, in this order, each an integer: billionths of a US dollar, tokens, steps, milliseconds, runs. */
export type Amounts = readonly [nanoUsd: number, tokens: number, steps: number, ms: number, runs: number]

/** Something that can be used up by all workers together. */
export interface SpendAccount {
  tenant: string
  /** Unique in the tenant. */
  name: string
  /** -1 for what is not limited. */
  limits: Amounts
  /** How long it is kept after its last use, seconds. */
  keptS: number
}

export type SpendAnswer =
  | { granted: Amounts }
  /** `final`: not enough is left. Otherwise others have set it aside, and may give some of it back. */
  | { refused: { account: SpendAccount; amount: number; spent: number; held: number; final: boolean } }

interface Operation {
  accounts: readonly SpendAccount[]
  json: { [name: string]: unknown }
}

const BATCH_MAX = 200
const IN_FLIGHT_MAX = 4

/** Budgets over all workers. All accounts of a tenant are in one partition, so that several are changed at once or none. */
export class Spend {
  readonly #journal: Journal
  readonly #calls = new Map<Partition, SharedCalls<Operation, readonly number[]>>()

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /**
   * Sets amounts aside in all accounts, or in none; until they are settled or, ms since the epoch, count as used.
   * Repeating it with the same `id` sets nothing more aside. With `part` less may be granted than asked for.
   */
  async reserve(
    accounts: readonly SpendAccount[],
    { id, until, ask, need, part = false }: { id: string; until: number; ask: Amounts; need: Amounts; part?: boolean },
  ): Promise<SpendAnswer> {
    const [code = 0, ...rest] = await this.#call(accounts, { reserve: ask, need, part, id, until })
    if (code === 0) return { granted: rest as unknown as Amounts } // five, as the command says
    const [place = 1, amount = 1, spent = 0, held = 0] = rest
    const account = accounts[place - 1] as SpendAccount // one of them
    return { refused: { account, amount: amount - 1, spent, held, final: code === 1 } }
  }

  /** So much was used of what was set aside. */
  async settle(accounts: readonly SpendAccount[], id: string, used: Amounts): Promise<void> {
    await this.#call(accounts, { settle: used, id })
  }

  /**
   * Moves what was set aside as `from` to the name `to`: of it so much was used, and `keep` still may be. Besides that sets
   * aside what is asked for, and gives it: at most a sixteenth of what is left, nothing where that is less than `need`.
   * Repeating it with the same `to` changes nothing more.
   *
   * @param from undefined at first
   * @returns undefined where `from` has expired: it has counted in full
   */
  async refill(
    accounts: readonly SpendAccount[],
    move: {
      from: string | undefined
      to: string
      until: number
      used: Amounts
      keep: Amounts
      ask: Amounts
      need: Amounts
    },
  ): Promise<Amounts | undefined> {
    const { from = '', to, until, used, keep, ask, need } = move
    const [code, ...granted] = await this.#call(accounts, {
      ...{ refill: ask, need, settle: used, keep, until },
      ...{ id: from, as: to },
    })
    return code === 0 ? (granted as unknown as Amounts) : undefined // five, as the command says
  }

  /** At least so much was used. */
  async atLeast(accounts: readonly SpendAccount[], used: Amounts): Promise<void> {
    await this.#call(accounts, { atLeast: used })
  }

  async read(account: SpendAccount): Promise<{ spent: Amounts; held: Amounts }> {
    const [, ...both] = await this.#call([account], { read: true })
    // Five of each, as the command says.
    return { spent: both.slice(0, 5) as unknown as Amounts, held: both.slice(5) as unknown as Amounts }
  }

  #call(accounts: readonly SpendAccount[], json: Operation['json']): Promise<readonly number[]> {
    const partition = tenantPartition(this.#journal, accounts[0]?.tenant ?? '')
    let calls = this.#calls.get(partition)
    if (!calls) {
      calls = new SharedCalls((batch) => this.#send(partition, batch), {
        sizeMax: BATCH_MAX,
        inFlightMax: IN_FLIGHT_MAX,
      })
      this.#calls.set(partition, calls)
    }
    return calls.add({ accounts, json })
  }

  #send({ keys, redis, replication }: Partition, batch: readonly Operation[]): Promise<readonly (readonly number[])[]> {
    const places = new Map<string, number>()
    const names: string[] = []
    const kept: number[] = []
    const operations = batch.map(({ accounts, json }) => ({
      ...json,
      accounts: accounts.map((account) => {
        const key = keys.spent(`${account.tenant}:${account.name}`)
        let place = places.get(key)
        if (place === undefined) {
          place = places.size + 1
          places.set(key, place)
          names.push(key, keys.held(`${account.tenant}:${account.name}`))
          kept.push(account.keptS)
        }
        return [place, ...account.limits]
      }),
    }))
    return replication.after(redis.musterSpend(names.length, ...names, JSON.stringify(operations), ...kept))
  }
}
