import { type ErrorCode, MusterError, type Via } from '@muster/protocol'
import { QuotaUsedUp } from './provider.ts'
import { Breaker, type BreakerState } from './route/breaker.ts'
import { FAILED_MS, Pace } from './route/pace.ts'
import type { BreakerLimits } from './route/rule.ts'
import { nameOf, type Target } from './target.ts'

/** A target, and the model that is asked for there. */
export interface Place {
  target: Target
  model: string
}

export interface Passed {
  target: Target
  error: MusterError
}

/** The places that a call may be made at, in the order in which they are asked. */
export interface Course {
  places: readonly Place[]
  /** Those of the route that may not have the request. */
  refused: readonly Passed[]
  /** How the order came about, where it is not as listed. */
  chosen?: Pick<Via, 'order' | 'sticky'>
  kind: 'stream' | 'whole'
  /** An answer has only begun when it is found: `ended` is told how it ends. */
  isOpen?: boolean
  /** The next is asked too where one has not begun within so long, ms. */
  hedgeMs?: number | undefined
  breaker: BreakerLimits | undefined
  signal?: AbortSignal | undefined
}

/** One of those that are asked at the same time. */
export interface Contender {
  signal?: AbortSignal
  /** Says that it begins to answer. False where another has: nothing of this one may be delivered. */
  claim(): boolean
}

export interface Found<T> {
  answer: T
  place: Place
  via?: Via
  /** Whole answers of targets that were asked too and came too late; they may cost something. */
  late: Promise<readonly { place: Place; answer: T }[]>
}

export interface Failover {
  /**
   * Asks the places in turn until one answers, and says which did and why not those before it, where there are several. The
   * next is asked where one cannot be reached, is overloaded, asks to wait, has no quota left, or cannot be asked this at
   * all; none once `begun`. Of those that are asked at the same time the first to claim it answers, and the others are aborted.
   */
  find<T>(
    course: Course,
    ask: (place: Place, contender: Contender) => Promise<T>,
    begun?: () => boolean,
  ): Promise<Found<T>>
  /** How an answer ended that was found when it had begun. */
  ended(target: Target, how: 'whole' | 'broken'): void
  paceOf(target: Target, kind: 'stream' | 'whole'): number | undefined
  stateOf(target: Target): BreakerState
}

/** How one try has ended. */
type Ended<T> = { answer: T } | { error: unknown }

interface Try<T> {
  place: Place
  as: 'call' | 'probe'
  beganAt: number
  abort: AbortController | undefined
  ended: Promise<{ from: Try<T>; end: Ended<T> }>
}

const NONE_LATE: Found<never>['late'] = Promise.resolve([])

export function createFailover(now: () => number = () => Date.now()): Failover {
  /** Until when a target has asked not to be called, ms since the epoch. */
  const closed = new Map<Target, number>()
  const breakers = new Map<Target, Breaker>()
  const pace = new Pace(now)

  function breakerOf(target: Target, limits: BreakerLimits): Breaker {
    let breaker = breakers.get(target)
    if (!breaker) {
      breaker = new Breaker(limits, now)
      breakers.set(target, breaker)
    }
    return breaker
  }

  /** Where it is not to be asked now: why not. Else as what it is. */
  function admitted({ target, model }: Place, course: Course): 'call' | 'probe' | MusterError {
    if (course.places.length + course.refused.length < 2) return 'call'
    const waitMs = (closed.get(target) ?? 0) - now()
    if (waitMs > 0) return new MusterError('rate.limited', `${model}: has asked to wait`, { retryAfterMs: waitMs })
    if (!course.breaker) return 'call'
    const breaker = breakerOf(target, course.breaker)
    const as = breaker.admit()
    if (as) return as
    const again = breaker.waitMs > 0 ? `is tried again in ${breaker.waitMs} ms` : 'is being tried'
    return new MusterError('route.open', `${model}: has failed too often of late, and ${again}`)
  }

  /** What the end of a try says of its target. */
  function learn<T>(
    { place: { target }, as, beganAt }: Pick<Try<T>, 'place' | 'as' | 'beganAt'>,
    end: Ended<T>,
    { kind, isOpen }: Course,
  ): void {
    const breaker = breakers.get(target)
    const tookMs = now() - beganAt
    if ('answer' in end) {
      if (isOpen) breaker?.begun(as)
      else breaker?.succeeded()
      return
    }
    const { error } = end
    if (error instanceof MusterError && error.retryAfterMs !== undefined) closed.set(target, now() + error.retryAfterMs)
    if (!(error instanceof MusterError)) breaker?.left(as)
    else if (error.code === 'model.unavailable') {
      breaker?.failed(as)
      pace.took(target, kind, Math.max(tookMs, FAILED_MS))
    }
    // It answers, if only to say no.
    else breaker?.succeeded()
  }

  /** The only place there is: nothing is passed over, and nobody contends with it. */
  async function findOnly<T>(
    place: Place,
    course: Course,
    ask: (place: Place, contender: Contender) => Promise<T>,
  ): Promise<Found<T>> {
    const { signal, kind } = course
    const beganAt = now()
    const one = { place, as: 'call', beganAt } as const
    let isClaimed = false
    const claim = () => {
      if (!isClaimed) pace.took(place.target, kind, now() - beganAt)
      isClaimed = true
      return true
    }
    try {
      const answer = await ask(place, signal ? { signal, claim } : { claim })
      learn(one, { answer }, course)
      claim()
      return { answer, place, late: NONE_LATE }
    } catch (error) {
      learn(one, { error }, course)
      throw error
    }
  }

  async function find<T>(
    course: Course,
    ask: (place: Place, contender: Contender) => Promise<T>,
    begun: () => boolean = () => false,
  ): Promise<Found<T>> {
    const [only, ...others] = course.places
    if (only && others.length + course.refused.length === 0) return findOnly(only, course, ask)
    const passed: Passed[] = [...course.refused]
    const queue = [...course.places]
    const running = new Set<Try<T>>()
    const lost: Try<T>[] = []
    let first: Try<T> | undefined

    function claim(one: Try<T>): boolean {
      if (first) return first === one
      if (!running.has(one)) return false
      first = one
      pace.took(one.place.target, course.kind, now() - one.beganAt)
      for (const other of running) {
        if (other === one) continue
        running.delete(other)
        lost.push(other)
        // It takes as long as this at least.
        pace.took(other.place.target, course.kind, now() - other.beganAt)
        other.abort?.abort(new DOMException('another target has answered', 'AbortError'))
      }
      return true
    }

    function start(place: Place, as: Try<T>['as']): void {
      const abort = course.hedgeMs === undefined ? undefined : new AbortController()
      const signals = [course.signal, abort?.signal].filter((signal) => signal !== undefined)
      const signal = signals.length > 1 ? AbortSignal.any(signals) : signals[0]
      const { promise: ended, resolve } = Promise.withResolvers<{ from: Try<T>; end: Ended<T> }>()
      const one: Try<T> = { place, as, beganAt: now(), abort, ended }
      running.add(one)
      ask(place, { ...(signal ? { signal } : {}), claim: () => claim(one) }).then(
        (answer) => resolve({ from: one, end: { answer } }),
        (error: unknown) => resolve({ from: one, end: { error } }),
      )
    }

    /** Asks the next that may be asked; false where there is none. */
    function next(): boolean {
      for (let place = queue.shift(); place; place = queue.shift()) {
        const as = admitted(place, course)
        if (typeof as === 'string') {
          start(place, as)
          return true
        }
        passed.push({ target: place.target, error: as })
      }
      return false
    }

    function leave(): void {
      for (const { abort } of running) abort?.abort(new DOMException('the call has failed elsewhere', 'AbortError'))
      for (const one of running)
        one.ended.then(({ end }) => learn(one, 'answer' in end ? end : { error: undefined }, course))
      running.clear()
    }

    while (running.size > 0 || next()) {
      const mayHedge = running.size === 1 && queue.length > 0 && !first
      const ended = await endOf(running, mayHedge ? course.hedgeMs : undefined)
      if (!ended) {
        if (!first) next()
        continue
      }
      const { from, end } = ended
      if (!running.delete(from)) continue
      learn(from, end, course)
      const { target } = from.place
      if ('answer' in end) {
        running.add(from)
        claim(from)
        running.delete(from)
        const late = lateOf(lost, (one, end) => learn(one, end, course))
        const isOfSeveral = course.places.length + course.refused.length > 1
        const via = isOfSeveral ? viaOf(target, passed, course, lost) : undefined
        return { answer: end.answer, place: from.place, ...(via ? { via } : {}), late }
      }
      const { error } = end
      // An abort is nobody's failure.
      if (!(error instanceof MusterError)) {
        leave()
        throw error
      }
      passed.push({ target, error })
      if (first === from) first = undefined
      if (begun() || !mayDoElsewhere(error)) {
        leave()
        throw failureOf(passed, error.code)
      }
    }
    throw failureOf(passed)
  }

  return {
    find,
    ended(target, how) {
      const breaker = breakers.get(target)
      if (how === 'whole') breaker?.succeeded()
      else breaker?.failed('call')
    },
    paceOf: (target, kind) => pace.of(target, kind),
    stateOf: (target) => breakers.get(target)?.state ?? 'closed',
  }
}

/** The first to end; undefined where none has within `hedgeMs`. */
async function endOf<T>(running: ReadonlySet<Try<T>>, hedgeMs: number | undefined) {
  const ends = [...running].map(({ ended }) => ended)
  if (hedgeMs === undefined) return ends.length === 1 ? ends[0] : Promise.race(ends)
  const { promise: late, resolve } = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => resolve(undefined), hedgeMs)
  try {
    return await Promise.race([...ends, late])
  } finally {
    clearTimeout(timer)
  }
}

/** How long a target that was aborted is waited for, ms: none but a broken one needs any time for it. */
const ABORT_MS = 1000

async function lateOf<T>(lost: readonly Try<T>[], learn: (one: Try<T>, end: Ended<T>) => void) {
  if (lost.length === 0) return []
  const late: { place: Place; answer: T }[] = []
  const ends = lost.map(async (one) => {
    const { end } = await one.ended
    // What was aborted has not failed.
    learn(one, 'answer' in end ? end : { error: undefined })
    if ('answer' in end) late.push({ place: one.place, answer: end.answer })
  })
  const { promise: over, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ABORT_MS)
  await Promise.race([Promise.all(ends), over])
  clearTimeout(timer)
  return late
}

const PASSING = ['model.unavailable', 'rate.limited'] as const satisfies ErrorCode[]

function mayDoElsewhere(error: MusterError): boolean {
  return isPassing(error) || error.code === 'model.unsupported' || error instanceof QuotaUsedUp
}

function isPassing({ code }: MusterError): boolean {
  return PASSING.some((passing) => passing === code)
}

function viaOf<T>(target: Target, passed: readonly Passed[], { chosen }: Course, lost: readonly Try<T>[]): Via {
  const others = passed.map((other) => ({ target: nameOf(other.target), code: other.error.code }))
  const { region } = target
  return {
    target: nameOf(target),
    ...(others.length > 0 ? { passed: others } : {}),
    ...(region === undefined ? {} : { region }),
    ...chosen,
    ...(lost.length > 0 ? { hedged: lost.map(({ place }) => nameOf(place.target)) } : {}),
  }
}

/** What a call has come to that no target answered: waiting helps where one may be there again, after the shortest time. */
function failureOf(passed: readonly Passed[], told?: ErrorCode): MusterError {
  const errors = passed.map(({ error }) => error)
  const [first] = errors
  if (first && errors.length === 1) return first
  const last = errors.at(-1)
  const asked = errors.filter(({ code }) => code !== 'route.refused' && code !== 'policy.denied')
  const code =
    told ??
    PASSING.find((passing) => errors.some((error) => error.code === passing)) ??
    (errors.some((error) => error.code === 'route.open') ? 'model.unavailable' : undefined) ??
    (asked.every((error) => error.code === 'model.unsupported') ? 'model.unsupported' : 'model.failed')
  const waits = errors.flatMap(({ retryAfterMs }) => (retryAfterMs === undefined ? [] : [retryAfterMs]))
  // What is down and does not say for how long may be there again at once.
  const mustWait =
    code === 'rate.limited' || (code === 'model.unavailable' && waits.length === errors.filter(isPassing).length)
  return new MusterError(
    code,
    passed.map(({ target, error }) => `${nameOf(target)}: ${error.message}`).join('; then '),
    {
      retryAfterMs: mustWait && waits.length > 0 ? Math.min(...waits) : undefined,
      cause: last?.cause,
      ...(code === 'model.unsupported' && last?.issues ? { issues: last.issues } : {}),
    },
  )
}
