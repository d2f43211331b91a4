/** A set of things of which any can be picked in constant time. Each is in one bag at most. */
export class Bag<T extends { place: number }> {
  readonly all: T[] = []

  add(thing: T): void {
    thing.place = this.all.push(thing) - 1
  }

  remove(thing: T): void {
    const last = this.all.pop()
    if (last === undefined || last === thing) return
    last.place = thing.place
    this.all[thing.place] = last
  }
}
