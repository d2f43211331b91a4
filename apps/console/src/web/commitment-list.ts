import type { CommitmentState } from '@muster/protocol'
import type { VNode } from 'preact'
import { serverNow } from './api.ts'
import { courseOf } from './commitment-course.ts'
import { Dollars } from './cost-parts.ts'
import { dollars, percent } from './format.ts'
import { html } from './html.ts'
import { Fact, Loading, Problem, Status } from './parts.ts'
import { visible } from './text.ts'
import { useAnswer } from './use-answer.ts'

/** Years of days of all tenants may be read for it, ms. */
const REFRESH_MS = 60_000
/** A bar is at most so much longer than what is promised. */
const LONGEST = 1.5

/** Amounts that are promised to providers: how far each is used, and where that leads. */
export function CommitmentList(): VNode {
  const { answer, error } = useAnswer<{ commitments: CommitmentState[] }>('/v1/commitments', REFRESH_MS)
  return html`
    <${Problem} error=${error} />
    ${!answer && error === undefined && html`<${Loading} what="commitments" />`}
    ${answer?.commitments.length === 0 && html`<p class="note">There is no commitment. A deployment sets them in <code>MUSTER_COMMITMENTS</code>.</p>`}
    <ul class="commitments">${answer?.commitments.map((one) => html`<${Commitment} key=${one.name} commitment=${one} />`)}</ul>
  `
}

function Commitment({ commitment }: { commitment: CommitmentState }): VNode {
  const { name, provider, usd, from, until, spentUsd, leftUsd, usdPerDay, forecastUsd, usedUpOn } = commitment
  const { state, text, time } = courseOf(commitment, serverNow())
  return html`
    <li class="card commitment">
      <h3>${visible(name)} <${Status} status=${state} /></h3>
      <p class="note">${dollars(usd)} promised to <b>${visible(provider)}</b>, from <span class="date">${from}</span> until <span class="date">${until}</span></p>
      <${Bar} commitment=${commitment} time=${time} />
      <p class="note">${percent(spentUsd / usd)} used, ${percent(time)} of its time gone${time > 0 && time < 1 && html`: an even pace would be at the mark, ${dollars(usd * time)}`}.</p>
      <p class="course">${text}</p>
      <dl class="facts">
        <${Fact} name="Used"><${Dollars} usd=${spentUsd} /><//>
        <${Fact} name="Left">${leftUsd < 0 ? html`none, over by <${Dollars} usd=${-leftUsd} />` : html`<${Dollars} usd=${leftUsd} />`}<//>
        <${Fact} name="A day, of late"><${Dollars} usd=${usdPerDay} /><//>
        <${Fact} name="Forecast"><${Dollars} usd=${forecastUsd} /><//>
        <${Fact} name="Used up on">${usedUpOn ?? html`<span class="dim">not before its end</span>`}<//>
      </dl>
    </li>
  `
}

/** What is used, what will be, and where an even pace would be today. Where more is used than promised, that goes on behind a line. */
function Bar({
  commitment: { usd, spentUsd, forecastUsd },
  time,
}: {
  commitment: CommitmentState
  time: number
}): VNode {
  const whole = Math.min(Math.max(usd, spentUsd, forecastUsd), usd * LONGEST)
  const at = (amount: number) => `${Math.min(amount / whole, 1) * 100}%`
  return html`
    <div class="draw-down" aria-hidden="true">
      <span class="track"><i class="forecast" style=${{ width: at(forecastUsd) }} /><i class="spent" style=${{ width: at(spentUsd) }} />${whole > usd && html`<i class="beyond" style=${{ left: at(usd) }} />`}</span>
      ${time > 0 && time < 1 && html`<i class="even" style=${{ left: at(usd * time) }} />`}
    </div>
  `
}
