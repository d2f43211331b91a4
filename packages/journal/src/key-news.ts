import type { Journal } from './journal.ts'

/** Changes that are remembered, about; who has missed more of them looks at everything anew. */
const NEWS_MAX = 10_000
const START = '0-0'

/** Tells all servers which API keys have changed: those look at them anew. In the first partition. */
export class KeyNews {
  readonly #journal: Journal
  #last: string | undefined

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** These hashes of secrets mean something else from now on. */
  async tell(hashes: readonly string[]): Promise<void> {
    const { redis, partitions } = this.#journal
    const { changedKeys } = partitions[0].keys
    for (const sha256 of hashes) await redis.xadd(changedKeys, 'MAXLEN', '~', NEWS_MAX, '*', 'sha256', sha256)
  }

  /** What was told since it was asked last; `all` where nobody knows any more, as at the first time. */
  async hear(): Promise<'all' | string[]> {
    const { redis, partitions } = this.#journal
    const { changedKeys } = partitions[0].keys
    const since = this.#last
    if (since === undefined) {
      const [newest] = await redis.xrevrange(changedKeys, '+', '-', 'COUNT', 1)
      this.#last = newest?.[0] ?? START
      return 'all'
    }
    const news = await redis.xrange(changedKeys, `(${since}`, '+', 'COUNT', NEWS_MAX)
    const newest = news.at(-1)
    if (newest === undefined) return []
    this.#last = newest[0]
    if (news.length < NEWS_MAX) return news.map(([, [, sha256 = '']]) => sha256)
    this.#last = undefined
    return 'all'
  }

  /** What was told meanwhile may be lost. */
  missed(): void {
    this.#last = undefined
  }
}
