import type { Costs, KeyHolder } from '@muster/protocol'
import type { VNode } from 'preact'
import { Dollars, Share, useFirst } from './cost-parts.ts'
import { columns } from './cost-view.ts'
import { whole } from './format.ts'
import { html } from './html.ts'
import { NameLink } from './name-link.ts'
import { Fact } from './parts.ts'

export function CostTotal({ total }: { total: Costs['total'] }): VNode {
  return html`
    <dl class="facts cost-total">
      <${Fact} name="Cost"><${Dollars} usd=${total.usd} /><//>
      <${Fact} name="Calls">${whole(total.calls)}<//>
      <${Fact} name="Tokens in">${whole(total.inputTokens)}<//>
      <${Fact} name="Of these cached">${whole(total.cachedTokens)}<//>
      <${Fact} name="Tokens out">${whole(total.outputTokens)}<//>
    </dl>
  `
}

/** What each name has cost, the dearest first. */
export function CostTable({ me, costs: { by, costs, total } }: { me: KeyHolder | undefined; costs: Costs }): VNode {
  const { first, more } = useFirst(costs)
  return html`
    <div class="scroll card" role="region" aria-label=${`Costs by ${by}`} tabindex="0">
      <table class="costs cards">
        <thead>
          <tr><th scope="col">${columns[by]}</th><th scope="col">Share</th><th scope="col" class="number">Cost</th><th scope="col" class="number">Calls</th><th scope="col" class="number">Tokens in</th><th scope="col" class="number">Of these cached</th><th scope="col" class="number">Tokens out</th></tr>
        </thead>
        <tbody>
          ${first.map(
            ({ name, usd, calls, inputTokens, cachedTokens, outputTokens }) => html`
              <tr key=${name}>
                <th scope="row"><${NameLink} me=${me} kind=${by} name=${name} /></th>
                <td data-name="Share" data-wide><span><${Share} part=${total.usd === 0 ? 0 : usd / total.usd} /></span></td>
                <td data-name="Cost" class="number"><span><${Dollars} usd=${usd} /></span></td>
                <td data-name="Calls" class="number"><span>${whole(calls)}</span></td>
                <td data-name="Tokens in" data-wide class="number"><span>${whole(inputTokens)}</span></td>
                <td data-name="Cached" data-wide class="number"><span>${whole(cachedTokens)}</span></td>
                <td data-name="Tokens out" data-wide class="number"><span>${whole(outputTokens)}</span></td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
    ${more}
  `
}
