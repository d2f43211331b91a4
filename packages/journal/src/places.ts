/**
 * The runs that a worker may hold at once, shared between its partitions: a place that becomes free goes to the
 * partition that waits for one and holds the fewest, and one that holds more than another gives up its place to it
 * when a run ends. So each has its part, however much waits in one of them, and no place stays empty.
 */
export class Places {
  readonly count: number
  #free: number
  readonly #waiting: { share: Share; given: (taken: boolean) => void }[] = []

  constructor(count: number) {
    this.count = count
    this.#free = count
  }

  get free(): number {
    return this.#free
  }

  share(): Share {
    return new Share(this)
  }

  /** Takes a free place. */
  take(): void {
    if (this.#free === 0) throw new Error('all places are taken')
    this.#free--
  }

  next(share: Share): Promise<boolean> {
    return new Promise((resolve) => this.#waiting.push({ share, given: resolve }))
  }

  /** Whether another partition waits that should have one of `held` places. */
  wanted(held: number): boolean {
    return this.#waiting.some(({ share }) => share.held + 1 < held || (share.held === 0 && held > 0))
  }

  leave(): void {
    let next = 0
    for (const [i, { share }] of this.#waiting.entries()) {
      if (share.held < (this.#waiting[next]?.share.held ?? 0)) next = i
    }
    const [waiting] = this.#waiting.splice(next, 1)
    if (!waiting) {
      this.#free++
      return
    }
    waiting.share.held++
    waiting.given(true)
  }

  /** Who waits gets nothing any more. */
  stopWaiting(share: Share): void {
    for (const waiting of this.#waiting.splice(0)) {
      if (waiting.share === share) waiting.given(false)
      else this.#waiting.push(waiting)
    }
  }
}

/** The places of one partition. */
export class Share {
  held = 0
  readonly #places: Places
  #onIdle: (() => void)[] = []

  constructor(places: Places) {
    this.#places = places
  }

  get free(): number {
    return this.#places.free
  }

  take(): void {
    this.#places.take()
    this.held++
  }

  /** Resolves when one has become free, or another partition has given it up, and is taken; with false after `stopWaiting`. */
  next(): Promise<boolean> {
    return this.#places.next(this)
  }

  stopWaiting(): void {
    this.#places.stopWaiting(this)
  }

  /** Whether a place that could be used again should go to another partition. */
  get owed(): boolean {
    return this.#places.wanted(this.held)
  }

  leave(): void {
    this.held--
    this.#places.leave()
    if (this.held === 0) for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  /** Resolves when no place is held. */
  async idle(): Promise<void> {
    while (this.held > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
  }
}
