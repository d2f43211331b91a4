/**
 * The runs that a worker may hold at once, shared between its partitions. While none is free, partitions wait in line,
 * and what becomes free goes to the one that holds the fewest: so each has its part, however much waits in one of them.
 */
export class Places {
  #free: number
  readonly #waiting: { share: Share; count: number; given: (taken: boolean) => void }[] = []

  constructor(count: number) {
    this.#free = count
  }

  /** At or below 0 there is none: the last place may be taken by several runs that are not parted. */
  get free(): number {
    return this.#free
  }

  share(): Share {
    return new Share(this)
  }

  take(count: number): void {
    this.#free -= count
  }

  next(share: Share, count: number): Promise<boolean> {
    return new Promise((given) => this.#waiting.push({ share, count, given }))
  }

  leave(count: number): void {
    this.#free += count
    while (this.#free > 0) {
      let next = 0
      for (const [i, { share }] of this.#waiting.entries()) {
        if (share.held < (this.#waiting[next]?.share.held ?? 0)) next = i
      }
      const [waiting] = this.#waiting.splice(next, 1)
      if (!waiting) return
      waiting.share.take(waiting.count)
      waiting.given(true)
    }
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

  take(count: number): void {
    this.#places.take(count)
    this.held += count
  }

  /** Resolves when a place has become free and `count` are taken, or with false after `stopWaiting`. */
  next(count: number): Promise<boolean> {
    return this.#places.next(this, count)
  }

  stopWaiting(): void {
    this.#places.stopWaiting(this)
  }

  leave(count: number): void {
    this.held -= count
    this.#places.leave(count)
    if (this.held === 0) for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  /** Resolves when no place is held. */
  async idle(): Promise<void> {
    while (this.held > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
  }
}
