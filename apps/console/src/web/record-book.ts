import type { AuditRecord, RecordAction, RecordPage } from '@muster/protocol'
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { count, exactTime } from './format.ts'
import { html } from './html.ts'
import { Loading, Problem, Time } from './parts.ts'
import { linkTo, replaceRoute } from './route.ts'
import { visible } from './text.ts'
import { usePages } from './use-pages.ts'

/** Of a value so much is shown before it is asked for. */
const ABOUT_MAX = 200

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
export function RecordBook({ asked }: { asked: URLSearchParams }): VNode {
  const [round, setRound] = useState(0)
  const action = asked.get('action') ?? ''
  const user = asked.get('user') ?? ''
  const run = asked.get('run') ?? ''
  const query = new URLSearchParams({
    ...(action && { action }),
    ...(user && { user }),
    ...(run && { run }),
  }).toString()
  const filter = (name: 'action' | 'user' | 'run') => (event: Event) => {
    const changed = new URLSearchParams(asked)
    changed.set(name, textOf(event))
    if (textOf(event) === '') changed.delete(name)
    replaceRoute(linkTo('audit'), changed)
  }
  const { pages, error, more } = usePages<RecordPage>('/v1/audit/records', query, round)
  const records = pages?.flatMap((page) => page.records)
  return html`
    <div class="filters">
      <label>Action
        <select value=${action} onChange=${filter('action')}>
          <option value="">any</option>
          ${Object.keys(actions).map((one) => html`<option key=${one} value=${one} selected=${one === action}>${one}</option>`)}
        </select>
      </label>
      <label>User <input value=${user} placeholder="any" maxlength="128" onChange=${filter('user')} /></label>
      <label>Run <input value=${run} placeholder="any" maxlength="64" onChange=${filter('run')} /></label>
      <button type="button" onClick=${() => setRound(round + 1)}>Refresh</button>
    </div>
    ${!pages && error === undefined && html`<${Loading} what="records" />`}
    <${Problem} error=${error} />
    ${records?.length === 0 && !more && html`<p class="empty">${query === '' ? 'No record yet.' : 'No record is like this.'}</p>`}
    ${records !== undefined && records.length > 0 && html`<${Table} records=${records} />`}
    ${more && html`<p class="more"><span class="note">${count(records?.length ?? 0, 'record')} so far. </span><button type="button" onClick=${more}>Load more records</button></p>`}
  `
}

/** What was done besides a run that is about it: erased, held, read, expired. */
export function RecordsOf({ run }: { run: string }): VNode {
  const { pages, error, more } = usePages<RecordPage>('/v1/audit/records', new URLSearchParams({ run }).toString(), 0)
  const records = pages?.flatMap((page) => page.records)
  if (!records && error === undefined) return html`<${Loading} what="records" />`
  return html`
    <${Problem} error=${error} />
    ${records?.length === 0 && !more && html`<p class="note">There is none: nobody has erased, held or read anything of it that is recorded.</p>`}
    ${records !== undefined && records.length > 0 && html`<${Table} records=${records} />`}
    ${more && html`<p class="more"><button type="button" onClick=${more}>Load more records</button></p>`}
  `
}

function Table({ records }: { records: readonly AuditRecord[] }): VNode {
  return html`
    <div class="scroll card" role="region" aria-label="Records" tabindex="0">
      <table class="entries cards">
        <thead><tr><th class="number">#</th><th>Time</th><th>Action</th><th>By</th><th>Run</th><th>About</th></tr></thead>
        <tbody>${records.map((record) => html`<${Row} key=${record.seq} record=${record} />`)}</tbody>
      </table>
    </div>
  `
}

function Row({ record }: { record: AuditRecord }): VNode {
  const { run, ...about } = record.about
  return html`
    <tr>
      <td data-name="#" class="number"><span>${record.seq}</span></td>
      <td data-name="Time"><span><${Time} at=${record.at} /></span></td>
      <td data-name="Action"><span>${record.action}</span></td>
      <td data-name="By" class="wraps"><span>${visible(record.by.user)} <span class="dim">${visible(record.by.key)}</span></span></td>
      <td data-name="Run" class="id"><span>${typeof run === 'string' && html`<a href=${linkTo('runs', run)}>${visible(run.slice(-12))}</a>`}</span></td>
      <td data-name="About" class="about"><span>${Object.keys(about).length > 0 && html`<${About} about=${about} />`}</span></td>
    </tr>
  `
}

/** Names and their values: as JSON, so that none can pass for two, but for times, which nobody reads in milliseconds. */
function About({ about }: { about: AuditRecord['about'] }): VNode {
  const [whole, setWhole] = useState(false)
  const parts = Object.entries(about).map(([name, value]) => {
    const isTime = typeof value === 'number' && /(At|^since|^until)$/.test(name)
    return { name, text: isTime ? exactTime(value) : JSON.stringify(value) }
  })
  const isCut = !whole && parts.some(({ text }) => text.length > ABOUT_MAX)
  return html`
    ${parts.map(({ name, text }) => html`<span class="part" key=${name}><span class="dim">${visible(name)}</span> ${visible(whole ? text : text.slice(0, ABOUT_MAX))}${isCut && text.length > ABOUT_MAX && '…'}</span> `)}
    ${isCut && html`<button type="button" class="quiet" onClick=${() => setWhole(true)}>Show all</button>`}
  `
}

function textOf(event: Event): string {
  return (event.target as HTMLInputElement | HTMLSelectElement).value.trim()
}
