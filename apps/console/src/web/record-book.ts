import type { AuditRecord, RecordAction, RecordPage } from '@muster/protocol'
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { html } from './html.ts'
import { Problem, Time } from './parts.ts'
import { linkTo } from './route.ts'
import { visible } from './text.ts'
import { usePages } from './use-pages.ts'

const ABOUT_MAX = 1000

const actions: Record<RecordAction, true> = {
  'api_key.changed': true,
  'api_key.created': true,
  'api_key.revoked': true,
  'api_key.rotated': true,
  'budget.removed': true,
  'budget.set': true,
  'content.read': true,
  'costs.rebuilt': true,
  'erasure.done': true,
  'erasure.requested': true,
  'hold.lifted': true,
  'hold.placed': true,
  'key.created': true,
  'key.destroyed': true,
  'key.used': true,
  'limit.removed': true,
  'limit.set': true,
  'policy.used': true,
  'retention.changed': true,
  'retention.expired': true,
  'stop.lifted': true,
  'stop.set': true,
  'webhook.removed': true,
  'webhook.set': true,
}

/** What was done besides runs, newest first. */
export function RecordBook(): VNode {
  const [action, setAction] = useState('')
  const [user, setUser] = useState('')
  const [round, setRound] = useState(0)
  const query = new URLSearchParams({ ...(action && { action }), ...(user && { user }) }).toString()
  const { pages, error, more } = usePages<RecordPage>('/v1/audit/records', query, round)
  const records = pages?.flatMap((page) => page.records)
  return html`
    <div class="filters">
      <label>Action
        <select value=${action} onChange=${(event: Event) => setAction(textOf(event))}>
          <option value="">any</option>
          ${Object.keys(actions).map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
        </select>
      </label>
      <label>User <input value=${user} placeholder="any" maxlength="128" onChange=${(event: Event) => setUser(textOf(event))} /></label>
      <button type="button" onClick=${() => setRound(round + 1)}>Refresh</button>
    </div>
    <${Problem} error=${error} />
    ${records?.length === 0 && !more && html`<p class="empty">No record is like this.</p>`}
    ${
      records !== undefined &&
      records.length > 0 &&
      html`
        <div class="scroll card" role="region" aria-label="Records" tabindex="0">
          <table class="entries">
            <thead><tr><th class="number">#</th><th>Time</th><th>Action</th><th>By</th><th>Run</th><th>About</th></tr></thead>
            <tbody>${records.map((record) => html`<${Row} key=${record.seq} record=${record} />`)}</tbody>
          </table>
        </div>
      `
    }
    ${more && html`<p class="more"><button type="button" onClick=${more}>Load more records</button></p>`}
  `
}

function Row({ record }: { record: AuditRecord }): VNode {
  const { run, ...about } = record.about
  const text = Object.keys(about).length === 0 ? '' : JSON.stringify(about)
  return html`
    <tr>
      <td class="number">${record.seq}</td>
      <td><${Time} at=${record.at} /></td>
      <td>${record.action}</td>
      <td>${visible(record.by.user)} <span class="dim">${visible(record.by.key)}</span></td>
      <td class="id">${typeof run === 'string' && html`<a href=${linkTo('runs', run)}>${visible(run.slice(-12))}</a>`}</td>
      <td class="about">${visible(text.slice(0, ABOUT_MAX))}${text.length > ABOUT_MAX && '…'}</td>
    </tr>
  `
}

function textOf(event: Event): string {
  return (event.target as HTMLInputElement | HTMLSelectElement).value.trim()
}
