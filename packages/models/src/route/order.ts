import { hash } from 'node:crypto'
import type { Place } from '../failover.ts'
import { nameOf } from '../target.ts'
import type { Order } from './rule.ts'

interface By {
  order: Order
  /** Where the same key is to go to the same target. */
  stickyKey: string | undefined
  random: () => number
  /** US dollars; undefined where nobody knows. */
  costAt: (place: Place) => number | undefined
  /** Until it began to answer, ms; undefined where that is not known. */
  paceOf: (place: Place) => number | undefined
}

/** The places in the order in which they are asked. */
export function ordered(places: readonly Place[], { order, stickyKey, random, costAt, paceOf }: By): readonly Place[] {
  if (places.length < 2 || order === 'listed') return places
  if (order === 'fastest') return sorted(places, (place) => paceOf(place) ?? 0)
  const drawn = (place: Place) => (stickyKey === undefined ? 0 : keyed(stickyKey, place))
  if (order === 'cheapest')
    // Among those that cost the same a key keeps to its target.
    return sorted(sorted(places, drawn), (place) => costAt(place) ?? Number.POSITIVE_INFINITY)
  if (stickyKey !== undefined) return sorted(places, drawn)
  return weighted(places, random)
}

/** One at random by weight, then the others, the heaviest first. */
function weighted(places: readonly Place[], random: () => number): readonly Place[] {
  let left = random() * places.reduce((sum, place) => sum + weightOf(place), 0)
  const drawn = places.findIndex((place) => {
    left -= weightOf(place)
    return left < 0
  })
  const first = places[drawn === -1 ? places.length - 1 : drawn]
  if (!first) return places
  return [
    first,
    ...sorted(
      places.filter((place) => place !== first),
      (place) => -weightOf(place),
    ),
  ]
}

/**
 * Weighted rendezvous hashing (Schindelhauer and Schomaker, 2005): where a target is gone, its keys alone go elsewhere, and
 * nothing is to be remembered. The least comes first.
 */
function keyed(key: string, place: Place): number {
  const digest = hash('sha256', `${nameOf(place.target)}\n${place.model}\n${key}`, 'buffer')
  // Above 0 and below 1.
  const uniform = (digest.readUIntBE(0, 6) + 0.5) / 2 ** 48
  return -Math.log(uniform) / weightOf(place)
}

function weightOf({ target }: Place): number {
  return target.weight ?? 1
}

/** By the least; equals stay as they stand. */
function sorted(places: readonly Place[], by: (place: Place) => number): readonly Place[] {
  return places
    .map((place) => ({ place, by: by(place) }))
    .sort((a, b) => (a.by === b.by ? 0 : a.by - b.by))
    .map(({ place }) => place)
}
