import { MusterError } from '@muster/protocol'
import type { Course, Passed, Place } from '../failover.ts'
import type { Target } from '../target.ts'
import { type About, refusalOf, routeRefused } from './conditions.ts'
import { ordered } from './order.ts'
import { BREAKER, type RouteRule } from './rule.ts'

/** A request, as far as it matters for where it goes. */
export interface Asked extends About {
  kind: Course['kind']
  outputTokens: number
  /** Why it may not go to targets, by their places. */
  refused: ReadonlyMap<number, string> | undefined
  stickyKey: string | undefined
  signal: AbortSignal | undefined
}

interface Known {
  random: () => number
  costAt: (place: Place) => number | undefined
  paceOf: (place: Place) => number | undefined
  routes: () => { name: string; targets: readonly Target[] }[]
}

/**
 * Which targets of a route may have a request, and in which order they are asked.
 *
 * @throws MusterError `route.refused` where none may
 */
export function courseOf(
  route: string,
  { rule, places }: { rule: RouteRule; places: readonly Place[] },
  asked: Asked,
  { random, costAt, paceOf, routes }: Known,
): Course {
  const refused: Passed[] = []
  const allowed = places.filter(({ target }, at) => {
    const denied = asked.refused?.get(at)
    if (denied !== undefined) refused.push({ target, error: new MusterError('policy.denied', denied) })
    if (!target.when || denied !== undefined) return denied === undefined
    const why = refusalOf(target, asked)
    if (why !== undefined) refused.push({ target, error: new MusterError('route.refused', why) })
    return why === undefined
  })
  if (allowed.length === 0) throw routeRefused(route, asked.labels, refused, routes())
  const { order = 'listed', sticky, hedgeMs, breaker = BREAKER } = rule
  const stickyKey = sticky ? asked.stickyKey : undefined
  return {
    places: ordered(allowed, { order, stickyKey, random, costAt, paceOf }),
    refused,
    ...(order === 'listed' ? {} : { chosen: { order, ...(stickyKey === undefined ? {} : { sticky: true as const }) } }),
    kind: asked.kind,
    ...(allowed.length > 1 ? { hedgeMs } : {}),
    breaker: breaker === false ? undefined : breaker,
    signal: asked.signal,
  }
}
