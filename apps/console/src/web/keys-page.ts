import type { KeyHolder, MadeKey, KeyPage as Page, ShownKey } from '@muster/protocol'
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { serverNow } from './api.ts'
import { html } from './html.ts'
import { NewKey } from './key-form.ts'
import { KeySecret } from './key-secret.ts'
import { BudgetUse, Expiry, KeyStatus, keyState, keyStates, MadeBy, Names, Routes, Whose } from './key-text.ts'
import { mayHave } from './me.ts'
import { Loading, Problem, Time } from './parts.ts'
import { linkTo, replaceRoute } from './route.ts'
import { visible } from './text.ts'
import { usePages } from './use-pages.ts'

const MAKING = `${linkTo('keys')}?make`

/** All API keys of the tenant: whose, what they may, until when; and a way to make others. */
export function KeysPage({ me, query }: { me: KeyHolder | undefined; query: URLSearchParams }): VNode {
  const [round, setRound] = useState(0)
  const [made, setMade] = useState<MadeKey>()
  const isAdmin = mayHave(me, 'admin')
  const done = () => {
    setMade(undefined)
    setRound((round) => round + 1)
    replaceRoute(linkTo('keys'))
  }
  if (made) return html`<div class="title"><h1>Keys</h1></div><${KeySecret} made=${made} onDone=${done} />`
  if (query.has('make') && isAdmin)
    return html`<div class="title"><h1>Keys</h1></div><${NewKey} me=${me} onMade=${setMade} />`
  return html`
    <div class="title">
      <h1>Keys</h1>
      <${Filters} query=${query} onRefresh=${() => setRound(round + 1)} />
      ${isAdmin && html`<a class="button primary" href=${MAKING}>New key</a>`}
    </div>
    ${!isAdmin && mayHave(me, 'auditor') && html`<p class="note">Making and changing keys needs the role <b>admin</b>.</p>`}
    <${List} state=${query.get('state') ?? ''} find=${query.get('find') ?? ''} round=${round} />
  `
}

function Filters({ query, onRefresh }: { query: URLSearchParams; onRefresh: () => void }): VNode {
  const filter = (name: 'state' | 'find') => (event: Event) => {
    const asked = new URLSearchParams(query)
    asked.set(name, (event.target as HTMLInputElement | HTMLSelectElement).value.trim())
    if (asked.get(name) === '') asked.delete(name)
    replaceRoute(linkTo('keys'), asked)
  }
  const state = query.get('state') ?? ''
  return html`
    <div class="filters">
      <label>Find <input type="search" value=${query.get('find') ?? ''} placeholder="name, user, role" maxlength="128" onChange=${filter('find')} /></label>
      <label>State
        <select value=${state} onChange=${filter('state')}>
          <option value="">any</option>
          ${keyStates.map((one) => html`<option key=${one} value=${one} selected=${one === state}>${one}</option>`)}
        </select>
      </label>
      <button type="button" onClick=${onRefresh}>Refresh</button>
    </div>
  `
}

function List({ state, find, round }: { state: string; find: string; round: number }): VNode {
  const { pages, error, more } = usePages<Page>('/v1/keys', 'limit=100', round)
  const now = serverNow()
  const all = pages?.flatMap(({ keys }) => keys)
  const keys = all?.filter((key) => (state === '' || keyState(key, now) === state) && isFound(key, find))
  const isCut = all !== undefined && keys !== undefined && keys.length < all.length
  if (!all && error === undefined) return html`<${Loading} what="keys" />`
  return html`
    <${Problem} error=${error} />
    ${keys?.length === 0 && html`<p class="empty">${all?.length === 0 ? 'No key yet.' : 'No key is like this.'}</p>`}
    ${keys && keys.length > 0 && html`<${Table} keys=${keys} now=${now} />`}
    ${(more || isCut) && html`<p class="more">${isCut && html`<span class="note" role="status">${keys.length} of the ${all.length} keys looked at. </span>`}${more && html`<button type="button" onClick=${more}>${isCut ? 'Look further' : 'Load more keys'}</button>`}</p>`}
  `
}

/** Whether something that a person would know it by has these letters. */
function isFound({ id, user, team, roles, note, end, createdBy }: ShownKey, find: string): boolean {
  const wanted = find.toLowerCase()
  const texts = [id, user, team ?? '', note ?? '', end ?? '', createdBy?.user ?? '', ...roles]
  return texts.some((text) => text.toLowerCase().includes(wanted))
}

function Table({ keys, now }: { keys: readonly ShownKey[]; now: number }): VNode {
  return html`
    <div class="scroll card" role="region" aria-label="Keys" tabindex="0">
      <table class="keys cards">
        <thead>
          <tr><th>Key</th><th>State</th><th>User</th><th>Roles</th><th>Routes</th><th>Expires</th><th>Budget used</th><th>Last use</th><th>Made by</th></tr>
        </thead>
        <tbody>${keys.map((key) => html`<${Row} key=${key.id} shown=${key} now=${now} />`)}</tbody>
      </table>
    </div>
  `
}

function Row({ shown, now }: { shown: ShownKey; now: number }): VNode {
  const { id, roles, expiresAt, lastUsedAt } = shown
  return html`
    <tr>
      <td class="what"><a href=${linkTo('keys', id)}>${visible(id)}</a></td>
      <td class="state"><${KeyStatus} shown=${shown} now=${now} /></td>
      <td data-name="User"><span><${Whose} shown=${shown} /></span></td>
      <td data-name="Roles"><span><${Names} names=${roles} none="none" /></span></td>
      <td data-name="Routes"><span><${Routes} shown=${shown} /></span></td>
      <td data-name="Expires"><span><${Expiry} at=${expiresAt} /></span></td>
      <td data-name="Budget used"><span><${BudgetUse} shown=${shown} /></span></td>
      <td data-name="Last use"><span>${lastUsedAt === undefined ? html`<span class="dim">never</span>` : html`<${Time} at=${lastUsedAt} />`}</span></td>
      <td data-name="Made by"><span><${MadeBy} shown=${shown} /></span></td>
    </tr>
  `
}
