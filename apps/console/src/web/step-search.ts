import type { AuditHit, AuditPage } from '@muster/protocol'
import type { VNode } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { localTime } from './field.ts'
import { count } from './format.ts'
import { html } from './html.ts'
import { Labels, Loading, Problem, Time } from './parts.ts'
import { linkTo, replaceRoute } from './route.ts'
import { visible } from './text.ts'
import { usePages } from './use-pages.ts'

const FIELDS = ['tool', 'decision', 'person', 'policy', 'label', 'min', 'max', 'since', 'until']

/**
 * Steps of all runs, newest hour first; all that is given must hold of one and the same step. The address has it, so
 * that it can be handed on, and is there again after a look at a run.
 */
export function StepSearch({ asked }: { asked: URLSearchParams }): VNode {
  const [round, setRound] = useState(0)
  const form = useRef<HTMLFormElement>(null)
  const query = new URLSearchParams([...asked].filter(([name]) => FIELDS.includes(name))).toString()
  useEffect(() => fill(form.current, new URLSearchParams(query)), [query])
  const { pages, error, more } = usePages<AuditPage>('/v1/audit/search', query, round)
  const hits = pages?.flatMap((page) => page.hits)
  const search = (event: SubmitEvent) => {
    event.preventDefault()
    const others = [...asked].filter(([name]) => !FIELDS.includes(name))
    replaceRoute(
      linkTo('audit'),
      new URLSearchParams([...queryOf(new FormData(event.currentTarget as HTMLFormElement)), ...others]),
    )
    setRound(round + 1)
  }
  return html`
    <form ref=${form} class="filters search" role="search" aria-label="Steps" onSubmit=${search}>
      <label>Tool <input name="tool" maxlength="256" placeholder="any" /></label>
      <label>Decision
        <select name="decision">
          <option value="">any</option>
          ${['allow', 'ask', 'deny'].map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
        </select>
      </label>
      <label>Person <input name="person" maxlength="256" placeholder="asked or answered" /></label>
      <label>Policy <input name="policy" maxlength="256" placeholder="any" /></label>
      <label>Label <input name="label" maxlength="256" placeholder="any" /></label>
      <label>Amount from <input name="min" type="number" step="any" /></label>
      <label>Amount to <input name="max" type="number" step="any" /></label>
      <label>After <input name="since" type="datetime-local" step="1" /></label>
      <label>Before <input name="until" type="datetime-local" step="1" /></label>
      <button type="submit" class="primary">Search</button>
    </form>
    ${!pages && error === undefined && html`<${Loading} what="steps" />`}
    <${Problem} error=${error} />
    ${hits?.length === 0 && !more && html`<p class="empty">${query === '' ? 'No step yet. Steps are found some seconds after their run has parked or ended.' : 'No step is like this.'}</p>`}
    ${
      hits !== undefined &&
      hits.length > 0 &&
      html`
        <div class="scroll card" role="region" aria-label="Steps found" tabindex="0">
          <table class="entries cards">
            <thead><tr><th>Time</th><th>Step</th><th>Run</th><th>Asked by</th><th>Decisions</th><th>Answered by</th><th>Amounts</th><th>Labels</th><th>Status</th></tr></thead>
            <tbody>${hits.map((hit) => html`<${Row} key=${`${hit.run} ${hit.seq}`} hit=${hit} />`)}</tbody>
          </table>
        </div>
      `
    }
    ${more && html`<p class="more"><span class="note">${count(hits?.length ?? 0, 'step')} so far. </span><button type="button" onClick=${more}>Look further</button></p>`}
  `
}

function Row({ hit }: { hit: AuditHit }): VNode {
  const {
    run,
    seq,
    at,
    name,
    step,
    target,
    by,
    decisions,
    policies,
    approvers,
    amounts = {},
    labels,
    status,
    error,
  } = hit
  const sums = Object.entries(amounts)
    .map(([field, amount]) => `${field} ${amount}`)
    .join(', ')
  return html`
    <tr>
      <td data-name="Time"><span><${Time} at=${at} /></span></td>
      <td data-name="Step" class="wraps"><span>${visible(step ?? 'the run itself')} <span class="dim">${visible(step === undefined || step.includes(target) ? '' : target)}</span></span></td>
      <td data-name="Run" class="id wraps"><span><a href=${step === undefined ? linkTo('runs', run) : linkTo('runs', run, seq)} title=${`entry ${seq}`}>${visible(name)} ${visible(run.slice(-12))}</a></span></td>
      <td data-name="Asked by" class="wraps"><span>${visible(by)}</span></td>
      <td data-name="Decisions" class="wraps"><span>${decisions.length > 0 && html`<span class="decision" data-effect=${decisions.at(-1)}><b>${decisions.join(', ')}</b> ${visible(policies.join(', '))}</span>`}</span></td>
      <td data-name="Answered by" class="wraps"><span>${visible(approvers.join(', '))}</span></td>
      <td data-name="Amounts"><span>${visible(sums)}</span></td>
      <td data-name="Labels"><span><${Labels} labels=${labels} /></span></td>
      <td data-name="Status"><span>${status}${error !== undefined && html` <span class="dim">${visible(error)}</span>`}</span></td>
    </tr>
  `
}

/** What the form says, as the server takes it: times in milliseconds. */
function queryOf(form: FormData): URLSearchParams {
  const query = new URLSearchParams()
  for (const [name, value] of form) {
    const text = String(value).trim()
    if (text !== '') query.set(name, isTime(name) ? String(new Date(text).getTime()) : text)
  }
  return query
}

/** Puts what was asked for into the fields. */
function fill(form: HTMLFormElement | null, query: URLSearchParams): void {
  for (const name of FIELDS) {
    const field = form?.elements.namedItem(name)
    const text = query.get(name) ?? ''
    if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement)
      field.value = isTime(name) && text !== '' ? localTime(Number(text)) : text
  }
}

function isTime(name: string): boolean {
  return name === 'since' || name === 'until'
}
