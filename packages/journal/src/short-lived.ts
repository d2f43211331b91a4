/** So many entries go before the table is made anew. */
const RENEWED_AFTER = 256

/**
 * A map, by id, of what comes and goes thousands of times a second.
 *
 * V8 links each table that a `Map` has outgrown to the next. Once one of them has got into the old generation, that link
 * keeps all that come after it until the next full collection, with what they held when they were left: what has lived for
 * milliseconds is copied twice in place of being dropped. So it is another map now and then, to which no table leads.
 */
export class ShortLived<V> {
  #map = new Map<string, V>()
  #gone = 0

  get size(): number {
    return this.#map.size
  }

  get(id: string): V | undefined {
    return this.#map.get(id)
  }

  has(id: string): boolean {
    return this.#map.has(id)
  }

  set(id: string, value: V): void {
    this.#map.set(id, value)
  }

  delete(id: string): void {
    if (!this.#map.delete(id) || ++this.#gone < RENEWED_AFTER + this.#map.size) return
    this.#gone = 0
    this.#map = new Map(this.#map)
  }

  values(): MapIterator<V> {
    return this.#map.values()
  }

  [Symbol.iterator](): MapIterator<[string, V]> {
    return this.#map.entries()
  }
}
