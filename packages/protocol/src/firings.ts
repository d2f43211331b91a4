import { Cron } from 'croner'
import { MusterError } from './errors.ts'
import type { Timetable } from './schedule.ts'

/** So many missed firings are counted one by one. */
const MISSED_MAX = 1000

/**
 * The first time after `after` at which a timetable fires, ms since the Unix epoch; undefined when there is none.
 * Intervals count from `from`. A time that the clocks skip in spring fires at the next that there is; one that they
 * repeat in autumn fires once.
 */
export function nextFiring(when: Timetable, from: number, after: number): number | undefined {
  const next = unbounded(when, from, after)
  return next !== undefined && when.until !== undefined && next > when.until ? undefined : next
}

function unbounded({ cron, timeZone, everyS, at }: Timetable, from: number, after: number): number | undefined {
  if (at !== undefined) return at > after ? at : undefined
  if (everyS !== undefined) {
    const every = everyS * 1000
    return from + every * Math.max(1, Math.floor((after - from) / every) + 1)
  }
  if (cron === undefined) return undefined
  return new Cron(cron, { timezone: timeZone ?? 'UTC', mode: '5-part' }).nextRun(new Date(after))?.getTime()
}

/** Up to `count` firings after `after`, in their order. */
export function nextFirings(when: Timetable, from: number, after: number, count: number): number[] {
  const times: number[] = []
  for (let time = nextFiring(when, from, after); time !== undefined && times.length < count; ) {
    times.push(time)
    time = nextFiring(when, from, time)
  }
  return times
}

/** What comes after the firings before `earliest`, the first of them at `next`, and how many they are. */
export function passMissed(
  when: Timetable,
  from: number,
  next: number,
  earliest: number,
): { next: number | undefined; missed: number } {
  let missed = 0
  let time: number | undefined = next
  while (time !== undefined && time < earliest && missed < MISSED_MAX) {
    missed++
    time = nextFiring(when, from, time)
  }
  if (time !== undefined && time < earliest) time = nextFiring(when, from, earliest - 1)
  return { next: time, missed }
}

/**
 * The first firing of a timetable that was just written.
 *
 * @throws MusterError `schedule.invalid` naming the field when it is none, or never fires after `now`
 */
export function firstFiring(when: Timetable, now: number): number {
  const kinds = (['cron', 'everyS', 'at'] as const).filter((kind) => when[kind] !== undefined)
  const [kind] = kinds
  if (kind === undefined || kinds.length > 1) throw invalid('/when', 'give just one of cron, everyS and at')
  if (when.timeZone !== undefined) {
    if (kind !== 'cron') throw invalid('/when/timeZone', 'is for cron only')
    try {
      new Intl.DateTimeFormat('en', { timeZone: when.timeZone })
    } catch {
      throw invalid('/when/timeZone', `there is no time zone "${when.timeZone}"`)
    }
  }
  let next: number | undefined
  try {
    next = nextFiring(when, now, now)
  } catch (error) {
    throw invalid(`/when/${kind}`, error instanceof Error ? error.message : String(error))
  }
  if (next === undefined) throw invalid(`/when/${kind}`, 'never fires')
  return next
}

function invalid(path: string, message: string): MusterError {
  return new MusterError('schedule.invalid', `${path} ${message}`, { issues: [{ path, message }] })
}
