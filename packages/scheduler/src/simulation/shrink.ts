import type { Event } from './event.ts'
import { type Failure, type Life, replay, type Subjects } from './life.ts'

/** Leaves out of a life what does not matter for its failing, as long as `isOver` is false. */
export function shrink(failure: Failure, subjects: Subjects, isOver: () => boolean = () => false): Failure {
  let smallest = failure
  /** Keeps a smaller life that fails too. */
  const isKept = (life: Life): boolean => {
    const result = replay(life, subjects)
    if (!('message' in result)) return false
    // Its events end with the one that fails; those of a drain are in it.
    const isSmaller = result.life.events.length <= smallest.life.events.length
    if (isSmaller) smallest = result
    return isSmaller
  }
  for (let before = ''; before !== JSON.stringify(smallest.life) && !isOver(); ) {
    before = JSON.stringify(smallest.life)
    for (let size = smallest.life.events.length >> 1; size > 0; size >>= 1) {
      for (let from = smallest.life.events.length - size; from >= 0 && !isOver(); from -= size) {
        const { concurrency, events } = smallest.life
        isKept({ concurrency, events: [...events.slice(0, from), ...events.slice(from + size)] })
      }
    }
    for (let i = smallest.life.events.length - 1; i >= 0 && !isOver(); i--) {
      for (const event of simpler(smallest.life.events[i])) {
        isKept({ ...smallest.life, events: smallest.life.events.with(i, event) })
      }
    }
    isKept({ ...smallest.life, concurrency: 1 })
  }
  return smallest
}

function simpler(event: Event | undefined): Event[] {
  if (event?.do === 'addStep') {
    const { after } = event
    return [
      ...after.map((_, i) => ({ ...event, after: after.toSpliced(i, 1) })),
      ...(event.join === 'all' ? [] : [{ ...event, join: 'all' as const }]),
      ...(event.kind === 0 ? [] : [{ ...event, kind: 0 }]),
      ...(event.tokens === 0 ? [] : [{ ...event, tokens: 0 }]),
    ]
  }
  if (event && 'needs' in event) return event.needs.map((_, i) => ({ ...event, needs: event.needs.toSpliced(i, 1) }))
  return []
}
