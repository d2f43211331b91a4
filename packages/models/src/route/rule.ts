import type { Target } from '../target.ts'

export type Targets = readonly [Target, ...Target[]]

/** In which order the targets of a route are asked. */
export type Order = 'listed' | 'weighted' | 'cheapest' | 'fastest'

/** When a target is passed over for a while: after so many failures within a time. */
export interface BreakerLimits {
  failures: number
  withinMs: number
  pauseMs: number
}

/** A route of several targets that says how one of them is chosen. */
export interface RouteRule {
  targets: Targets
  /** `listed` unless given. */
  order?: Order
  /** The same key goes to the same target while that answers. */
  sticky?: boolean
  /** The next target is asked too where one has not begun to answer within so long, ms. */
  hedgeMs?: number
  /** `false`: every target is asked, however often it has failed. */
  breaker?: BreakerLimits | false
}

/** A target, or several in the order in which they are asked, or a rule. */
export type Route = Target | Targets | RouteRule

export const BREAKER: BreakerLimits = { failures: 5, withinMs: 30_000, pauseMs: 15_000 }

export function ruleOf(route: Route): RouteRule {
  if ('targets' in route) return route
  return { targets: isOne(route) ? [route] : route }
}

function isOne(route: Target | Targets): route is Target {
  return !Array.isArray(route)
}
