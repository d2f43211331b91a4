import type { DefinitionManifest, RunStatus, RunSummary } from '@muster/protocol'
import type { VNode } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { request, serverNow } from './api.ts'
import { duration, money, shortId } from './format.ts'
import { html } from './html.ts'
import { Loading, Problem, Status, Time } from './parts.ts'
import { linkTo, replaceRoute } from './route.ts'
import { visible } from './text.ts'
import { useRefresh } from './use-refresh.ts'

const REFRESH_MS = 2000
const statuses: RunStatus[] = ['queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled']

interface Page {
  runs: RunSummary[]
  cursor?: string
}

/** All runs, newest first; the first page keeps itself up to date. */
export function RunsPage({ status, name }: { status: string; name: string }): VNode {
  const [page, setPage] = useState<Page>()
  const [error, setError] = useState<unknown>()
  const [names, setNames] = useState<string[]>([])
  /** What is shown may have changed while an answer was under way. */
  const shown = useRef('')
  shown.current = `${status} ${name}`
  const load = async (cursor?: string, signal?: AbortSignal) => {
    const wanted = shown.current
    const query = new URLSearchParams({ ...(status && { status }), ...(name && { name }), ...(cursor && { cursor }) })
    try {
      const loaded = await request<Page>(`/v1/runs?${query}`, signal ? { signal } : {})
      if (signal?.aborted || shown.current !== wanted) return
      setPage((known) =>
        cursor === undefined ? refreshed(known, loaded) : { ...loaded, runs: [...(known?.runs ?? []), ...loaded.runs] },
      )
      setError(undefined)
    } catch (error) {
      if (!signal?.aborted) setError(error)
    }
  }
  useEffect(() => setPage(undefined), [status, name])
  useRefresh((signal) => load(undefined, signal), REFRESH_MS, [status, name])
  useEffect(() => {
    request<{ definitions: DefinitionManifest[] }>('/v1/definitions').then(
      ({ definitions }) => setNames([...new Set(definitions.map((definition) => definition.name))].sort()),
      () => {}, // The list of runs says what is wrong.
    )
  }, [])
  const filter = (change: { status?: string; name?: string }) => {
    const query = new URLSearchParams(Object.entries({ status, name, ...change }).filter(([, value]) => value !== ''))
    replaceRoute('#/runs', query)
  }
  return html`
    <div class="title">
      <h1>Runs</h1>
      <div class="filters">
        <label>Status
          <select value=${status} onChange=${(event: Event) => filter({ status: textOf(event) })}>
            <option value="">any</option>
            ${statuses.map((one) => html`<option key=${one} value=${one} selected=${one === status}>${one}</option>`)}
          </select>
        </label>
        <label>Name
          <input list="names" value=${name} placeholder="any" onChange=${(event: Event) => filter({ name: textOf(event) })} />
          <datalist id="names">${names.map((one) => html`<option key=${one} value=${one} />`)}</datalist>
        </label>
      </div>
    </div>
    <${Problem} error=${error} />
    ${!page && error === undefined && html`<${Loading} what="runs" />`}
    ${
      page &&
      (page.runs.length === 0
        ? html`<p class="empty">${page.cursor !== undefined ? `None of the newest runs is ${status || name ? 'like this' : 'yours'}.` : status || name ? 'No run is like this.' : html`No run yet. Start one: <code>muster run ${'<agent>'}</code>`}</p>`
        : html`<${Table} runs=${page.runs} />`)
    }
    ${page?.cursor !== undefined && html`<p class="more"><button type="button" onClick=${() => load(page.cursor)}>Load more</button></p>`}
  `
}

function Table({ runs }: { runs: RunSummary[] }): VNode {
  return html`
    <table class="runs card">
      <thead>
        <tr><th>Status</th><th>Agent or plan</th><th>Run</th><th>Created</th><th class="number">Took</th><th class="number">Steps</th><th class="number">Cost</th></tr>
      </thead>
      <tbody>
        ${runs.map(
          (run) => html`
            <tr key=${run.id}>
              <td><${Status} status=${run.status} /></td>
              <td class="what"><a href=${linkTo('runs', run.id)}>${visible(run.name)}<span class="dim">@${visible(run.version)}</span></a></td>
              <td class="id">${run.parent && html`<span title=${`child of ${run.parent.run}`}>↳ </span>`}${shortId(run.id)}</td>
              <td><${Time} at=${run.createdAt} /></td>
              <td class="number">${run.status !== 'queued' && duration(Math.max(0, (run.endedAt ?? serverNow()) - run.createdAt))}</td>
              <td class="number">${run.steps}</td>
              <td class="number">${money(run.costUsd)}</td>
            </tr>
          `,
        )}
      </tbody>
    </table>
  `
}

/** What is known, with a new first page: ids are in the order of time, so the pages behind it stay as they are. */
function refreshed(known: Page | undefined, first: Page): Page {
  const last = first.runs.at(-1)?.id
  const older = known?.runs.filter((run) => last !== undefined && run.id < last) ?? []
  // Without a common run there may be some between that nobody has loaded.
  const meets = known?.runs.some((run) => run.id === last || first.runs.some((one) => one.id === run.id))
  if (first.cursor === undefined || older.length === 0 || !meets) return first
  return { runs: [...first.runs, ...older], ...(known?.cursor === undefined ? {} : { cursor: known.cursor }) }
}

function textOf(event: Event): string {
  return (event.target as HTMLInputElement | HTMLSelectElement).value.trim()
}
