export function money(usd: number): string {
  if (usd === 0) return ''
  if (usd < 0.00005) return '<$0.0001'
  return usd < 1 ? `$${usd.toFixed(4)}` : `$${usd.toFixed(2)}`
}

/** A sum: in cents, and of less than a dollar in hundredths of them. */
export function dollars(usd: number): string {
  if (usd > 0 && usd < 0.00005) return '<$0.0001'
  const digits = usd > 0 && usd < 1 ? 4 : 2
  return `$${usd.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })}`
}

/** A part of a whole: 0.123 as `12.3 %`. */
export function percent(part: number): string {
  if (part > 0 && part < 0.001) return '<0.1 %'
  return `${(part * 100).toLocaleString('en', { maximumFractionDigits: 1 })} %`
}

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const minutes = Math.floor(ms / 60_000)
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' })
const minute = { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' } as const
const day = new Intl.DateTimeFormat(undefined, minute)
const year = new Intl.DateTimeFormat(undefined, { year: 'numeric', ...minute })

/** A time as short as it is clear: today by the clock, else with the day, and of another year with that. */
export function time(at: number): string {
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return exactTime(at)
  const now = new Date()
  if (date.toDateString() === now.toDateString()) return clock.format(date)
  return (date.getFullYear() === now.getFullYear() ? day : year).format(date)
}

/** An entry can say a time that no date has. */
export function exactTime(at: number): string {
  return Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : `${at} ms`
}

/** Of UTC, without the day. */
export function exactClock(at: number): string {
  return exactTime(at).replace(/^.*T/, '')
}

/** A number of tokens, calls or steps. */
export function whole(amount: number): string {
  return amount.toLocaleString('en')
}

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString()} ${n === 1 ? one : many}`
}

/** The end of an id: its beginning is a time, and the same for all runs of a second. */
export function shortId(id: string): string {
  return id.slice(-12)
}
