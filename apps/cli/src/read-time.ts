import { MusterError } from '@muster/protocol'

const UNITS_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/**
 * A time as it is given: `2026-11-28`, `2026-11-28T09:00:00Z`, or so long ago: `90m`, `12h`, `7d`.
 *
 * @throws MusterError `request.invalid`
 */
function readTime(text: string, now: number): number {
  const ms = spanOf(text)
  return ms === undefined ? dateIn(text) : now - ms
}

/** A filter with its times as they were typed, in milliseconds. @throws MusterError `request.invalid` */
export function withTimes<T extends { since?: string; until?: string }>(
  { since, until, ...rest }: T,
  now = Date.now(),
): Omit<T, 'since' | 'until'> & { since?: number; until?: number } {
  return {
    ...rest,
    ...(since === undefined ? {} : { since: readTime(since, now) }),
    ...(until === undefined ? {} : { until: readTime(until, now) }),
  }
}

/** A time to come, as it is given: the same, or in so long. @throws MusterError `request.invalid` */
export function readEnd(text: string, now: number): number {
  const ms = spanOf(text)
  return ms === undefined ? dateIn(text) : now + ms
}

/** A span of time as it is given, `90m`, `12h`, `7d` or `0`; ms. @throws MusterError `request.invalid` */
export function readDuration(text: string): number {
  const ms = text === '0' ? 0 : spanOf(text)
  if (ms === undefined) throw new MusterError('request.invalid', `"${text}" is no span of time: give 90m, 12h, 7d or 0`)
  return ms
}

function spanOf(text: string): number | undefined {
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  return count === undefined ? undefined : Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS] // one of them by the pattern
}

function dateIn(text: string): number {
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms))
    throw new MusterError('request.invalid', `"${text}" is no time: give 2026-11-28T09:00:00Z, or 7d`)
  return ms
}
