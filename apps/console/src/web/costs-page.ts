import type { Costs, KeyHolder } from '@muster/protocol'
import type { VNode } from 'preact'
import { serverNow } from './api.ts'
import { BudgetList } from './budget-list.ts'
import { CommitmentList } from './commitment-list.ts'
import { CostDays } from './cost-days.ts'
import { CostFilters } from './cost-filters.ts'
import { CostTable, CostTotal } from './cost-table.ts'
import { type CostView, dateAt, queryOf, viewOf } from './cost-view.ts'
import { html } from './html.ts'
import { mayHave } from './me.ts'
import { Loading, Problem } from './parts.ts'
import { visible } from './text.ts'
import { useAnswer } from './use-answer.ts'

/** Runs that go on are read for it, so not more often, ms. */
const REFRESH_MS = 30_000

/** What models cost in a day or month, how far commitments are drawn down, and what is left of budgets. */
export function CostsPage({ me, query }: { me: KeyHolder | undefined; query: URLSearchParams }): VNode {
  const seesCosts = mayHave(me, 'operator') || mayHave(me, 'auditor')
  return html`
    ${
      seesCosts
        ? html`<${Spending} me=${me} view=${viewOf(query)} />`
        : html`<div class="title"><h1>Costs</h1></div><p class="note">Seeing what models cost, and commitments, needs the role <b>operator</b> or <b>auditor</b>.</p>`
    }
    ${seesCosts && html`<section class="costs-part" aria-labelledby="commitments"><h2 id="commitments">Commitments</h2><${CommitmentList} /></section>`}
    <section class="costs-part" aria-labelledby="budgets"><h2 id="budgets">Budgets</h2><${BudgetList} me=${me} /></section>
  `
}

function Spending({ me, view }: { me: KeyHolder | undefined; view: CostView }): VNode {
  const { answer, error } = useAnswer<Costs>(`/v1/costs?${queryOf(view)}`, REFRESH_MS)
  // Without a date the server says which it is.
  const date = view.date ?? answer?.date ?? dateAt(view.period, serverNow())
  return html`
    <div class="title"><h1>Costs</h1><${CostFilters} view=${view} date=${date} /></div>
    <${Problem} error=${error} />
    ${!answer && error === undefined && html`<div class="costs-loading"><${Loading} what="costs" /></div>`}
    ${answer?.total.calls === 0 && html`<p class="empty">No run used a model in ${visible(answer.date)}.</p>`}
    ${answer && answer.total.calls > 0 && html`<${Found} me=${me} costs=${answer} />`}
  `
}

function Found({ me, costs }: { me: KeyHolder | undefined; costs: Costs }): VNode {
  return html`
    <${CostTotal} total=${costs.total} />
    ${costs.period === 'month' && html`<${CostDays} costs=${costs} />`}
    <${CostTable} key=${`${costs.by} ${costs.date}`} me=${me} costs=${costs} />
    <p class="note">Days and months of UTC. Runs that still go on are counted as far as they are.</p>
  `
}
