/** So many entries go before the table is made anew. */
const RENEWED_AFTER = 256

/**
 * A map of what comes and goes thousands of times a second.
 *
 * V8 links each table that a `Map` has outgrown to the next. Once one of them has got into the old generation, that link
 * keeps all that come after it until the next full collection, with what they held when they were left: what has lived for
 * milliseconds is copied twice in place of being dropped. So it is another map now and then, to which no table leads.
 */
export class ShortLived<K, V> {
  #map = new Map<K, V>()
  #gone = 0

  get size(): number {
    return this.#map.size
  }

  get(key: K): V | undefined {
    return this.#map.get(key)
  }

  has(key: K): boolean {
    return this.#map.has(key)
  }

  set(key: K, value: V): void {
    this.#map.set(key, value)
  }

  delete(key: K): void {
    if (!this.#map.delete(key) || ++this.#gone < RENEWED_AFTER + this.#map.size) return
    this.#gone = 0
    this.#map = new Map(this.#map)
  }

  keys(): MapIterator<K> {
    return this.#map.keys()
  }

  values(): MapIterator<V> {
    return this.#map.values()
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.#map.entries()
  }
}
