import type { Event } from './event.ts'
import { type Failure, type Life, replay, type Subjects } from './life.ts'

/** Leaves out of a life what does not matter for its failing, as long as `isOver` is false. */
export function shrink(failure: Failure, subjects: Subjects, isOver: () => boolean = () => false): Failure {
  let smallest = failure
  /** Keeps a life that fails too, unless it is larger. */
  const attempt = (life: Life): void => {
    const result = replay(life, subjects)
    // Its events end with the one that fails; those of a drain are in it.
    if ('message' in result && result.life.events.length <= smallest.life.events.length) smallest = result
  }
  /** Leaves out ever smaller parts of what the events are about, from the last to the first. */
  const leaveOut = (about: (events: readonly Event[]) => readonly unknown[]): void => {
    for (let size = new Set(about(smallest.life.events)).size >> 1; size > 0; size >>= 1) {
      for (let end = Number.POSITIVE_INFINITY; end > 0 && !isOver(); end -= size) {
        const { events } = smallest.life
        const subjects = about(events)
        const all = [...new Set(subjects)]
        end = Math.min(end, all.length)
        const out = new Set(all.slice(Math.max(end - size, 0), end))
        attempt({ ...smallest.life, events: events.filter((_, i) => !out.has(subjects[i])) })
      }
    }
  }
  for (let before = ''; before !== JSON.stringify(smallest.life) && !isOver(); ) {
    before = JSON.stringify(smallest.life)
    leaveOut(runs)
    leaveOut((events) => events.map((_, i) => i))
    for (let i = smallest.life.events.length - 1; i >= 0 && !isOver(); i--) {
      for (const event of simpler(smallest.life.events[i])) {
        attempt({ ...smallest.life, events: smallest.life.events.with(i, event) })
      }
    }
    attempt({ ...smallest.life, concurrency: 1 })
  }
  return smallest
}

/** The run that each event is about; -1 for none. */
function runs(events: readonly Event[]): number[] {
  const runOf = new Map<number, number>()
  for (const event of events) if (event.do === 'addStep') runOf.set(event.step, event.run)
  return events.map((event) => {
    if ('run' in event) return event.run
    return 'step' in event ? (runOf.get(event.step) ?? -1) : -1
  })
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
  if (event?.do === 'openRun' && event.calls?.length) return [{ ...event, calls: [] }]
  if (event && 'needs' in event) return event.needs.map((_, i) => ({ ...event, needs: event.needs.toSpliced(i, 1) }))
  return []
}
