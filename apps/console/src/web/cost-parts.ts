import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { dollars, percent, whole } from './format.ts'
import { html } from './html.ts'

/** Rows that are drawn before they are asked for. */
const ROWS_MAX = 50

/** A sum of money, and on pointing at it to the billionth. */
export function Dollars({ usd }: { usd: number }): VNode {
  const exact = usd.toFixed(9).replace(/\.?0+$/, '')
  return html`<span title=${`$${exact}`}>${dollars(usd)}</span>`
}

/** A part of a whole as a bar, with the figure as text beside it. */
export function Share({ part, full = false }: { part: number; full?: boolean }): VNode {
  const width = part > 0 ? `max(2px, ${Math.min(part, 1) * 100}%)` : 0
  return html`<span class="share" data-full=${full || undefined}><span class="gauge" aria-hidden="true"><i style=${{ width }} /></span><span class="figure">${percent(part)}</span></span>`
}

/** The first of many rows, and a button for all of them. */
export function useFirst<Row>(rows: readonly Row[]): { first: readonly Row[]; more: VNode | false } {
  const [all, setAll] = useState(false)
  if (all || rows.length <= ROWS_MAX) return { first: rows, more: false }
  const more = html`<p class="more"><button type="button" onClick=${() => setAll(true)}>Show all ${whole(rows.length)}</button></p>`
  return { first: rows.slice(0, ROWS_MAX), more }
}
