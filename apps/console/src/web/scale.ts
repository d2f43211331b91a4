import type { Span } from './spans.ts'

/** A time at which nothing ran, drawn short. */
interface Pause {
  from: number
  to: number
}

/** Where a moment lies on the waterfall, from 0 to 1. */
export interface Scale {
  at(time: number): number
  pauses: Pause[]
  /** Moments to draw a line at, and their distance from the beginning, ms. */
  ticks: { time: number; ms: number }[]
}

/** A pause is drawn short when it is so long, and longer than this part of all work. */
const PAUSE_MS = 2000
const PAUSE_PART = 0.5
/** Its width, as a part of all work. */
const DRAWN_PART = 0.12

/**
 * A scale from `from` to `to` on which work is seen: an hour in which a run waits for a person would leave the
 * seconds in which it worked no width at all.
 */
export function scaleOf(spans: readonly Span[], from: number, to: number): Scale {
  const pauses = longPauses(spans, from, to)
  const workMs = Math.max(1, to - from - pauses.reduce((sum, pause) => sum + pause.to - pause.from, 0))
  const drawnMs = workMs * DRAWN_PART
  const totalMs = workMs + pauses.length * drawnMs
  const at = (time: number): number => {
    let ms = Math.min(Math.max(time, from), to) - from
    for (const pause of pauses) {
      if (time <= pause.from) break
      const length = pause.to - pause.from
      const passed = Math.min(time, pause.to) - pause.from
      ms += (passed / length) * drawnMs - passed
    }
    return ms / totalMs
  }
  return { at, pauses, ticks: ticksOf(from, to, workMs, pauses) }
}

function longPauses(spans: readonly Span[], from: number, to: number): Pause[] {
  const pauses: Pause[] = []
  let busyUntil = from
  for (const work of workOf(spans, to)) {
    if (work.from > busyUntil) pauses.push({ from: busyUntil, to: work.from })
    busyUntil = Math.max(busyUntil, work.to)
  }
  if (to > busyUntil) pauses.push({ from: busyUntil, to })
  const idleMs = pauses.reduce((sum, pause) => sum + pause.to - pause.from, 0)
  const leastMs = Math.max(PAUSE_MS, (to - from - idleMs) * PAUSE_PART)
  return pauses.filter((pause) => pause.to - pause.from > leastMs)
}

/** When steps did something: their time without the waits for a person, by beginning. */
function workOf(spans: readonly Span[], end: number): Pause[] {
  const work: Pause[] = []
  for (const span of spans) {
    let from = span.from
    for (const wait of span.waits) {
      if (wait.from > from) work.push({ from, to: wait.from })
      from = wait.to ?? end
    }
    work.push({ from, to: span.to ?? end })
  }
  return work.filter((one) => one.to >= one.from).sort((a, b) => a.from - b.from)
}

const steps = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 216e5, 864e5,
]

function ticksOf(from: number, to: number, workMs: number, pauses: readonly Pause[]): Scale['ticks'] {
  const step = steps.find((ms) => workMs / ms <= 5) ?? workMs
  const ticks: Scale['ticks'] = []
  // A pause may hide a million of them: go around it.
  for (let ms = 0; from + ms <= to; ms += step) {
    const inside = pauses.find((pause) => from + ms > pause.from && from + ms < pause.to)
    if (inside) ms = Math.floor((inside.to - from) / step) * step
    else ticks.push({ time: from + ms, ms })
  }
  return ticks
}
