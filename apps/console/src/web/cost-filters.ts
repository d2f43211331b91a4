import type { Costs } from '@muster/protocol'
import type { VNode } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { serverNow } from './api.ts'
import { byPeriod, type CostView, columns, dateAt, isDate, later, linkToView } from './cost-view.ts'
import { html } from './html.ts'
import { openRoute, replaceRoute } from './route.ts'

const periods: Costs['period'][] = ['month', 'day']

/** Which costs: each choice is a new place in the history, so that the browser leads back to the one before. */
export function CostFilters({ view, date }: { view: CostView; date: string }): VNode {
  const { by, period } = view
  const now = serverNow()
  const open = (changed: CostView) => openRoute(linkToView(changed))
  const choosePeriod = (event: Event) => {
    const chosen = (event.target as HTMLSelectElement).value === 'day' ? 'day' : 'month'
    open(byPeriod(view, chosen, now))
  }
  const next = later(period, date, 1)
  return html`
    <div class="filters costs-filters">
      <label>By
        <select value=${by} onChange=${(event: Event) => open({ ...view, by: (event.target as HTMLSelectElement).value })}>
          ${Object.entries(columns).map(([one, name]) => html`<option key=${one} value=${one} selected=${one === by}>${name.toLowerCase()}</option>`)}
        </select>
      </label>
      <label>Period
        <select value=${period} onChange=${choosePeriod}>
          ${periods.map((one) => html`<option key=${one} value=${one} selected=${one === period}>${one}</option>`)}
        </select>
      </label>
      <div class="steps">
        <${Step} view=${view} date=${later(period, date, -1)} name=${`Previous ${period}`} sign="‹" />
        <${DateField} key=${period} view=${view} date=${date} />
        <${Step} view=${view} date=${next !== undefined && next <= dateAt(period, now) ? next : undefined} name=${`Next ${period}`} sign="›" />
      </div>
    </div>
  `
}

/** To another day or month. It keeps the focus where there is none further. */
function Step({
  view,
  date,
  name,
  sign,
}: {
  view: CostView
  date: string | undefined
  name: string
  sign: string
}): VNode {
  const isLast = date === undefined
  return html`<a class="step" role="link" tabindex="0" href=${isLast ? undefined : linkToView({ ...view, date })} aria-disabled=${isLast ? 'true' : undefined} aria-label=${name} title=${isLast ? undefined : date}>${sign}</a>`
}

function DateField({ view, date }: { view: CostView; date: string }): VNode {
  /** What is in the field while somebody types: it may be no date yet, and the page is drawn anew meanwhile. */
  const [typed, setTyped] = useState<string>()
  const hasOpened = useRef(false)
  const { period } = view
  const change = ({ currentTarget: { value, validity } }: { currentTarget: HTMLInputElement }) => {
    if (value === '' || value === date || !validity.valid) return
    const link = linkToView({ ...view, date: value })
    // Each key changes the date: one place in the history for all of them.
    if (hasOpened.current) replaceRoute(link)
    else openRoute(link)
    hasOpened.current = true
  }
  const leave = () => {
    setTyped(undefined)
    hasOpened.current = false
  }
  const form = period === 'day' ? { min: '2000-01-01', max: '9999-12-31' } : { min: '2000-01', max: '9999-12' }
  // Some browsers have no field for months, and show one for text.
  const asText = period === 'day' ? {} : { pattern: '\\d{4}-(0[1-9]|1[0-2])', placeholder: '2026-11' }
  return html`
    <label><span class="unseen">${period === 'day' ? 'Day' : 'Month'}</span>
      <input type=${period === 'day' ? 'date' : 'month'} value=${typed ?? (isDate(period, date) ? date : '')} ...${form} ...${asText} onInput=${(event: { currentTarget: HTMLInputElement }) => setTyped(event.currentTarget.value)} onChange=${change} onBlur=${leave} />
    </label>
  `
}
