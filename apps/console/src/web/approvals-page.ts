import type { Run, RunSummary, Waiting } from '@muster/protocol'
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { request } from './api.ts'
import { Content, isCut } from './content.ts'
import { html } from './html.ts'
import { Copy, Labels, Problem, Time } from './parts.ts'
import { linkTo } from './route.ts'
import { visible } from './text.ts'
import { useRefresh } from './use-refresh.ts'

const REFRESH_MS = 5000
/** Runs that are read at once to see what they wait for. */
const PAGE = 25

/** Whether a person is to answer. */
export function isForPerson({ for: reason }: Pick<Waiting, 'for'>): boolean {
  return reason === 'approval' || reason === 'doubt'
}

/** Every question that waits for a person, oldest run last. */
export function ApprovalsPage(): VNode {
  const [runs, setRuns] = useState<Run[]>()
  const [limit, setLimit] = useState(PAGE)
  const [more, setMore] = useState(false)
  const [error, setError] = useState<unknown>()
  useRefresh(
    async (signal) => {
      try {
        const page = await request<{ runs: RunSummary[]; cursor?: string }>(`/v1/runs?status=waiting&limit=${limit}`, {
          signal,
        })
        const read = await Promise.all(page.runs.map(({ id }) => request<Run>(`/v1/runs/${id}`, { signal })))
        if (signal.aborted) return
        setRuns(read)
        setMore(page.cursor !== undefined && limit < 200)
        setError(undefined)
      } catch (error) {
        if (!signal.aborted) setError(error)
      }
    },
    REFRESH_MS,
    [limit],
  )
  const asked = runs?.flatMap((run) => run.waiting.filter(isForPerson).map((waiting) => ({ run, waiting })))
  return html`
    <div class="title"><h1>Approvals</h1></div>
    <${Problem} error=${error} />
    ${asked?.length === 0 && html`<p class="empty">Nothing waits for a person.</p>`}
    <div class="approvals">
      ${asked?.map(({ run, waiting }) => html`<${Approval} key=${`${run.id} ${waiting.step} ${waiting.digest}`} run=${run} waiting=${waiting} />`)}
    </div>
    ${more && html`<p class="more"><button type="button" onClick=${() => setLimit(limit + PAGE)}>Load more</button></p>`}
  `
}

/** One question: exactly what would happen, and the two answers. */
export function Approval({ run, waiting }: { run: Run; waiting: Waiting }): VNode {
  const { shown = null, digest = '', step, target, role = 'operator' } = waiting
  const [seen, setSeen] = useState(!isCut(shown))
  const [state, setState] = useState<'asked' | 'sending' | 'approve' | 'deny'>('asked')
  const [error, setError] = useState<unknown>()
  const answer = async (verdict: 'approve' | 'deny') => {
    setState('sending')
    setError(undefined)
    try {
      await request(`/v1/runs/${encodeURIComponent(run.id)}/approvals`, {
        method: 'POST',
        body: { step, verdict, digest },
      })
      setState(verdict)
    } catch (error) {
      setError(error)
      setState('asked')
    }
  }
  const doubt = waiting.for === 'doubt'
  const question = doubt ? html`Did <b>${visible(target)}</b> take effect?` : html`May <b>${visible(target)}</b> go on?`
  return html`
    <article class="card approval">
      <h2>${question}</h2>
      <p class="note">
        Step <code>${visible(step)}</code> of <a href=${linkTo('runs', run.id)}>${visible(`${run.name}@${run.version}`)}</a>, begun by <b>${visible(run.by.user)}</b> ${' '}
        <${Time} at=${run.createdAt} />. Needs the role <b>${role}</b>.
      </p>
      ${doubt && html`<p class="note">It was cut off, and nobody can tell from here. Look at the outside system first: “Try again” if it did not happen there, “Do not” if it did.</p>`}
      <${Content} value=${shown} onWhole=${() => setSeen(true)} />
      <p class="note digest">Your answer holds for exactly this, SHA-256 <${Copy} text=${digest} short=${`${digest.slice(0, 16)}…`} /> <${Labels} labels=${labelsOf(shown)} /></p>
      <${Problem} error=${error} />
      ${
        state === 'approve' || state === 'deny'
          ? html`<p class="answered" role="status">${state === 'approve' ? '✓ Approved' : '⊘ Refused'}: the run goes on.</p>`
          : html`
              <div class="answers">
                <button type="button" class="primary" disabled=${!seen || state === 'sending'} onClick=${() => answer('approve')}>${doubt ? 'Try again' : 'Approve'}</button>
                <button type="button" disabled=${state === 'sending'} onClick=${() => answer('deny')}>${doubt ? 'Do not' : 'Refuse'}</button>
                ${!seen && html`<span class="note">Show all of it before you approve.</span>`}
              </div>
            `
      }
    </article>
  `
}

function labelsOf(shown: Waiting['shown']): string[] {
  if (shown === null || typeof shown !== 'object' || Array.isArray(shown) || !Array.isArray(shown.labels)) return []
  return shown.labels.filter((label) => typeof label === 'string')
}
