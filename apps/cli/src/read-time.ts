import { MusterError } from '@muster/protocol'

const UNITS_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/**
 * A time as it is given: `2026-11-28`, `2026-11-28T09:00:00Z`, or so long ago: `90m`, `12h`, `7d`.
 *
 * @throws MusterError `request.invalid`
 */
export function readTime(text: string, now: number): number {
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  if (count !== undefined) return now - Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS] // one of them by the pattern
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms))
    throw new MusterError('request.invalid', `"${text}" is no time: give 2026-11-28T09:00:00Z, or 7d`)
  return ms
}
