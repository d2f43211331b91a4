import type { BudgetState, KeyHolder } from '@muster/protocol'
import type { VNode } from 'preact'
import { Share, useFirst } from './cost-parts.ts'
import { dollars, duration, whole } from './format.ts'
import { html } from './html.ts'
import { NameLink } from './name-link.ts'
import { Loading, Problem, Time } from './parts.ts'
import { useAnswer } from './use-answer.ts'

const REFRESH_MS = 15_000

/** One amount of a budget in its day or month. */
interface Line {
  name: string
  period: BudgetState['period']
  amount: keyof BudgetState['limits']
  limit: number
  spent: number
  held: number
  endsAt: number
}

const amounts: Record<Line['amount'], { what: string; text: (amount: number) => string }> = {
  usd: { what: 'money', text: dollars },
  tokens: { what: 'tokens', text: whole },
  steps: { what: 'steps', text: whole },
  wallTimeMs: { what: 'time of steps', text: duration },
  runs: { what: 'runs', text: whole },
}

/** What is used and left of each budget in this day and month, the fullest first. */
export function BudgetList({ me }: { me: KeyHolder | undefined }): VNode {
  const { answer, error } = useAnswer<{ budgets: BudgetState[] }>('/v1/budgets', REFRESH_MS)
  const lines = linesOf(answer?.budgets ?? []).sort((one, other) => fullness(other) - fullness(one))
  const { first, more } = useFirst(lines)
  return html`
    <${Problem} error=${error} />
    ${!answer && error === undefined && html`<${Loading} what="budgets" />`}
    ${answer && lines.length === 0 && html`<p class="note">There is no budget. An operator sets one by <code>muster budget set</code>, a deployment in <code>MUSTER_BUDGETS</code>.</p>`}
    ${
      lines.length > 0 &&
      html`
        <div class="scroll card" role="region" aria-label="Budgets" tabindex="0">
          <table class="costs cards">
            <thead>
              <tr><th scope="col">Budget</th><th scope="col">Window</th><th scope="col">Used</th><th scope="col" class="number">Amount</th><th scope="col" class="number">Set aside</th><th scope="col" class="number">Left</th><th scope="col">Begins anew</th></tr>
            </thead>
            <tbody>${first.map((line) => html`<${Row} key=${`${line.period} ${line.amount} ${line.name}`} me=${me} line=${line} />`)}</tbody>
          </table>
        </div>
      `
    }
    ${more}
  `
}

function Row({ me, line }: { me: KeyHolder | undefined; line: Line }): VNode {
  const { name, period, amount, limit, spent, held, endsAt } = line
  const { what, text } = amounts[amount]
  const isFull = spent >= limit
  const left = Math.max(0, limit - spent - held)
  return html`
    <tr>
      <th scope="row"><${BudgetName} me=${me} name=${name} /></th>
      <td data-name="Window" data-wide><span>${what} a ${period}</span></td>
      <td data-name="Used" data-wide><span><${Share} part=${spent / limit} full=${isFull} />${isFull ? html` <b class="full">used up</b>` : left === 0 && html` <b class="full">rest set aside</b>`}</span></td>
      <td data-name="Amount" data-wide class="number"><span>${text(spent)} <span class="dim">of ${text(limit)}</span></span></td>
      <td data-name="Set aside" class="number"><span>${text(held)}</span></td>
      <td data-name="Left" class="number"><span>${text(left)}</span></td>
      <td data-name="Begins anew" data-wide><span><${Time} at=${endsAt} /></span></td>
    </tr>
  `
}

/** `tenant`, or whose it is and a name. */
function BudgetName({ me, name }: { me: KeyHolder | undefined; name: string }): VNode {
  const colon = name.indexOf(':')
  if (colon < 0) return html`${name}`
  const kind = name.slice(0, colon)
  return html`<span class="dim">${kind}</span> <${NameLink} me=${me} kind=${kind} name=${name.slice(colon + 1)} />`
}

function linesOf(budgets: readonly BudgetState[]): Line[] {
  return budgets.flatMap(({ name, period, limits, spent, held, endsAt }) =>
    (Object.keys(amounts) as Line['amount'][]).flatMap((amount) => {
      const limit = limits[amount]
      if (limit === undefined) return []
      return [{ name, period, amount, limit, spent: spent[amount] ?? 0, held: held[amount] ?? 0, endsAt }]
    }),
  )
}

function fullness({ spent, held, limit }: Line): number {
  return (spent + held) / limit
}
