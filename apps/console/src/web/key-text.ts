import type { ShownKey } from '@muster/protocol'
import type { VNode } from 'preact'
import { html } from './html.ts'
import { Status, Time } from './parts.ts'
import { visible } from './text.ts'

/** Who has a key that expires so soon should get another, ms. */
const SOON_MS = 14 * 24 * 3_600_000
/** Names of a list that are shown before those behind are only counted. */
const NAMES_MAX = 4

export const keyStates = ['active', 'expiring', 'expired', 'revoked'] as const
export type KeyState = (typeof keyStates)[number]

/** How a key stands; one that is active may be so for some days only. */
export function keyState({ state, expiresAt }: Pick<ShownKey, 'state' | 'expiresAt'>, now: number): KeyState {
  if (state !== 'active' || expiresAt === undefined) return state
  if (expiresAt <= now) return 'expired'
  return expiresAt - now < SOON_MS ? 'expiring' : 'active'
}

export function KeyStatus({ shown, now }: { shown: ShownKey; now: number }): VNode {
  return html`<${Status} status=${keyState(shown, now)} />`
}

export function Whose({ shown: { user, team, service } }: { shown: ShownKey }): VNode {
  return html`${visible(user)}${service && html` <span class="dim">a service</span>`}${team !== undefined && html` <span class="dim">team ${visible(team)}</span>`}`
}

/** Names as far as there is room for them. */
export function Names({ names, none }: { names: readonly string[] | undefined; none: string }): VNode {
  if (!names || names.length === 0) return html`<span class="dim">${none}</span>`
  const more = names.length - NAMES_MAX
  return html`${visible(names.slice(0, NAMES_MAX).join(', '))}${more > 0 && html` <span class="dim">and ${more} more</span>`}`
}

/** Routes of the gateway: without a list all, with an empty one none. */
export function Routes({ shown: { gateway } }: { shown: ShownKey }): VNode {
  return html`<${Names} names=${gateway?.routes} none=${gateway?.routes ? 'none' : 'all'} />`
}

export function Expiry({ at }: { at: number | undefined }): VNode {
  return at === undefined ? html`<span class="dim">never</span>` : html`<${Time} at=${at} />`
}

export function MadeBy({ shown: { createdBy, from } }: { shown: ShownKey }): VNode {
  if (from === 'file') return html`<span class="dim">the keys file</span>`
  return html`${visible(createdBy?.user ?? '')} <span class="dim">${visible(createdBy?.key ?? '')}</span>`
}

/** What is used of its budgets. */
export function BudgetUse({ shown: { budgets } }: { shown: ShownKey }): VNode {
  const lines = budgets.flatMap(({ period, limits, spent }) =>
    Object.entries(limits).map(([amount, limit]) => {
      const used = spent[amount] ?? 0
      return { text: `${usedOf(amount, used, limit)} a ${period}`, full: used >= limit }
    }),
  )
  if (lines.length === 0) return html`<span class="dim">no budget</span>`
  return html`${lines.map(({ text, full }) => html`<span class="use" key=${text} data-full=${full || undefined}>${text}${full && ': used up'}</span>`)}`
}

function usedOf(amount: string, used: number, limit: number): string {
  const [some, all] = [used, limit].map((value) => value.toLocaleString('en', { maximumFractionDigits: 4 }))
  if (amount === 'usd') return `$${some} of $${all}`
  return `${some} of ${all} ${amount === 'wallTimeMs' ? 'ms' : amount}`
}
