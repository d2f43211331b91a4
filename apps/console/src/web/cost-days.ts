import type { Costs } from '@muster/protocol'
import type { VNode } from 'preact'
import { Dollars } from './cost-parts.ts'
import { linkToView } from './cost-view.ts'
import { count, dollars, whole } from './format.ts'
import { html } from './html.ts'

type Day = Costs['days'][number]

/** The days of a month as bars, each a way to that day; the same as a table for who does not see them. */
export function CostDays({ costs: { by, days } }: { costs: Costs }): VNode | null {
  const [dearest] = days.toSorted((one, other) => other.usd - one.usd)
  if (!dearest || dearest.usd === 0) return null
  const linkOf = ({ date }: Day) => linkToView({ by, period: 'day', date })
  const used = days.filter(({ calls }) => calls > 0)
  return html`
    <section class="card cost-days" aria-labelledby="cost-days">
      <h2 id="cost-days">Day by day</h2>
      <p class="note">The most on ${dearest.date}: ${dollars(dearest.usd)}</p>
      <div class="day-bars" aria-hidden="true">
        ${days.map(
          (day) => html`
            <a class="day" key=${day.date} href=${linkOf(day)} tabindex="-1" title=${`${day.date}: ${dollars(day.usd)}, ${count(day.calls, 'call')}`}>
              <span><i style=${{ height: day.usd === 0 ? 0 : `max(2px, ${(day.usd / dearest.usd) * 100}%)` }} /></span>${Number(day.date.slice(8))}
            </a>
          `,
        )}
      </div>
      <details>
        <summary>As a table</summary>
        <table>
          <thead><tr><th scope="col">Day</th><th scope="col" class="number">Cost</th><th scope="col" class="number">Calls</th></tr></thead>
          <tbody>
            ${used.map((day) => html`<tr key=${day.date}><th scope="row"><a href=${linkOf(day)}>${day.date}</a></th><td class="number"><${Dollars} usd=${day.usd} /></td><td class="number">${whole(day.calls)}</td></tr>`)}
          </tbody>
        </table>
      </details>
    </section>
  `
}
