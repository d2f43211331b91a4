import type { CommitmentState } from '@muster/protocol'
import { dollars, whole } from './format.ts'

const DAY_MS = 24 * 3_600_000
/** Of what is promised, less than this left at the end is as good as nothing. */
const NEARLY = 0.01

export interface Course {
  /** In two words. */
  state: 'not begun' | 'just begun' | 'on course' | 'over-run' | 'under-use' | 'used up' | 'over'
  /** In a sentence. */
  text: string
  /** How far its time is, from 0 to 1. */
  time: number
}

/** Where a commitment is and where it leads, in words. Days are of UTC. */
export function courseOf(commitment: CommitmentState, now: number): Course {
  const { from, until } = commitment
  const begins = Date.parse(from)
  const time = (now - begins) / (Date.parse(until) + DAY_MS - begins)
  return { ...said(commitment, new Date(now).toISOString().slice(0, 10)), time: Math.min(Math.max(time, 0), 1) }
}

function said(
  { usd, from, until, spentUsd, leftUsd, forecastUsd, usedUpOn }: CommitmentState,
  today: string,
): Omit<Course, 'time'> {
  const more = forecastUsd > usd ? ` ${dollars(forecastUsd - usd)} more than was promised are used by its end.` : ''
  if (leftUsd <= 0) {
    const over = leftUsd < 0 ? `, and ${dollars(-leftUsd)} more by now` : ''
    return {
      state: 'used up',
      text: `All of it was used up on ${usedUpOn ?? until}${over}.${today > until ? '' : more && ` If it goes on so,${more}`}`,
    }
  }
  if (today > until)
    return { state: 'over', text: `It ended on ${until}, and ${dollars(leftUsd)} of it were not used.` }
  if (today < from) return { state: 'not begun', text: `It begins on ${from}.` }
  if (today === from) return { state: 'just begun', text: 'No whole day of it is over, so nothing is forecast yet.' }
  if (usedUpOn !== undefined) {
    const early = Math.round((Date.parse(until) - Date.parse(usedUpOn)) / DAY_MS)
    if (early === 0) return { state: 'on course', text: 'If it goes on so, it is used up on its last day.' }
    const days = early === 1 ? 'a day' : `${whole(early)} days`
    return { state: 'over-run', text: `If it goes on so, it is used up on ${usedUpOn}, ${days} before its end.${more}` }
  }
  const unused = usd - forecastUsd
  const text = `If it goes on so, ${dollars(unused)} of it are not used by its end.`
  return {
    state: unused < usd * NEARLY ? 'on course' : 'under-use',
    text: spentUsd === 0 ? `Nothing of it was used yet. ${text}` : text,
  }
}
