import type { KeyHolder, Question, Waiting } from '@muster/protocol'
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { request } from './api.ts'
import { Content, isCut } from './content.ts'
import { html } from './html.ts'
import { type Asking, whyNot } from './may-answer.ts'
import { Copy, Labels, Loading, Problem, Time } from './parts.ts'
import { linkTo } from './route.ts'
import { visible } from './text.ts'
import { useRefresh } from './use-refresh.ts'

const REFRESH_MS = 5000
/** By so many runs more it is looked what they wait for. */
const PAGE = 25
/** So many one answer has at most. */
const MOST = 100

/** Whether a person is to answer. */
export function isForPerson({ for: reason }: Pick<Waiting, 'for'>): boolean {
  return reason === 'approval' || reason === 'doubt'
}

interface Asked {
  approvals: Question[]
  cursor?: string
}

/** What the first runs that ask people wait for, and whether more do. */
async function readAsked(runs: number, signal: AbortSignal): Promise<Asked> {
  const approvals: Question[] = []
  let cursor: string | undefined
  for (let left = runs; left > 0; left -= MOST) {
    const query = new URLSearchParams({ limit: String(Math.min(left, MOST)), ...(cursor && { cursor }) })
    const page = await request<Asked>(`/v1/approvals?${query}`, { signal })
    approvals.push(...page.approvals)
    cursor = page.cursor
    if (cursor === undefined) return { approvals }
  }
  return { approvals, ...(cursor && { cursor }) }
}

/** Every question that waits for a person, oldest run first. */
export function ApprovalsPage({ me }: { me: KeyHolder | undefined }): VNode {
  const [asked, setAsked] = useState<Asked>()
  const [runs, setRuns] = useState(PAGE)
  const [error, setError] = useState<unknown>()
  useRefresh(
    async (signal) => {
      try {
        const read = await readAsked(runs, signal)
        if (signal.aborted) return
        setAsked(read)
        setError(undefined)
      } catch (error) {
        if (!signal.aborted) setError(error)
      }
    },
    REFRESH_MS,
    [runs],
  )
  return html`
    <div class="title"><h1>Approvals</h1></div>
    ${!asked && error === undefined && html`<${Loading} what="what waits" />`}
    <${Problem} error=${error} />
    ${asked?.approvals.length === 0 && asked.cursor === undefined && html`<p class="empty">Nothing waits for a person.</p>`}
    <div class="approvals">
      ${asked?.approvals.map((one) => html`<${Approval} key=${`${one.run} ${one.step} ${one.digest}`} run=${{ ...one, id: one.run }} waiting=${one} me=${me} />`)}
    </div>
    ${asked?.cursor !== undefined && html`<p class="more"><button type="button" onClick=${() => setRuns(runs + PAGE)}>Load more</button></p>`}
  `
}

/** One question: exactly what would happen, and the two answers. */
export function Approval({ run, waiting, me }: { run: Asking; waiting: Waiting; me: KeyHolder | undefined }): VNode {
  const { shown = null, digest = '', step, target, rule, approvals = [], until } = waiting
  const role = [waiting.role ?? 'operator', waiting.escalated].filter(Boolean).join(' or ')
  const [reason, setReason] = useState('')
  const [seen, setSeen] = useState(!isCut(shown))
  const [state, setState] = useState<'asked' | 'sending' | 'approve' | 'deny'>('asked')
  const [error, setError] = useState<unknown>()
  const answer = async (verdict: 'approve' | 'deny') => {
    setState('sending')
    setError(undefined)
    try {
      await request(`/v1/runs/${encodeURIComponent(run.id)}/approvals`, {
        method: 'POST',
        body: { step, verdict, digest, ...(reason.trim() === '' ? {} : { reason: reason.trim() }) },
      })
      setState(verdict)
    } catch (error) {
      setError(error)
      setState('asked')
    }
  }
  const doubt = waiting.for === 'doubt'
  const { toAnswer, toApprove } = whyNot(me, run, waiting)
  const isUnexplained = rule?.reason === true && reason.trim() === ''
  const question = doubt ? html`Did <b>${visible(target)}</b> take effect?` : html`May <b>${visible(target)}</b> go on?`
  return html`
    <article class="card approval">
      <h2>${question}</h2>
      <p class="note">
        Step <code>${visible(step)}</code> of <a href=${linkTo('runs', run.id)}>${visible(`${run.name}@${run.version}`)}</a>, begun by <b>${visible(run.by.user)}</b> ${' '}
        <${Time} at=${run.createdAt} />. Needs ${rule?.people === undefined ? 'the role' : `${rule.people} people with the role`} <b>${visible(role)}</b>.
        ${approvals.length > 0 && html` Approved by ${visible(approvals.map(({ by }) => by).join(', '))} so far.`}
        ${rule?.requester === false && html` Not by ${visible(run.by.user)}, who began it.`}
        ${until !== undefined && html` Until <${Time} at=${until} />.`}
      </p>
      ${doubt && html`<p class="note">It was cut off, and nobody can tell from here. Look at the outside system first: “Try again” if it did not happen there, “Do not” if it did.</p>`}
      <${Content} value=${shown} onWhole=${() => setSeen(true)} />
      <p class="note digest">Your answer holds for exactly this, SHA-256 <${Copy} text=${digest} short=${`${digest.slice(0, 16)}…`} /> <${Labels} labels=${labelsOf(shown)} /></p>
      <${Problem} error=${error} />
      ${
        state === 'approve' || state === 'deny'
          ? html`<p class="answered" role="status">${state === 'approve' ? '✓ Approved' : '⊘ Refused'}: ${state === 'approve' && approvals.length + 1 < (rule?.people ?? 1) ? 'somebody else must as well' : 'the run goes on'}.</p>`
          : toAnswer !== undefined
            ? html`<p class="note">${visible(toAnswer)}</p>`
            : html`
              <label class="reason">Reason${rule?.reason ? '' : ' (optional)'} <input type="text" maxlength="1000" value=${reason} onInput=${(event: { currentTarget: HTMLInputElement }) => setReason(event.currentTarget.value)} /></label>
              <div class="answers">
                <button type="button" class="primary" disabled=${!seen || state === 'sending' || isUnexplained || toApprove !== undefined} onClick=${() => answer('approve')}>${doubt ? 'Try again' : 'Approve'}</button>
                <button type="button" disabled=${state === 'sending' || isUnexplained} onClick=${() => answer('deny')}>${doubt ? 'Do not' : 'Refuse'}</button>
                ${!seen && html`<span class="note">Show all of it before you approve.</span>`}
                ${toApprove !== undefined && html`<span class="note">${toApprove}</span>`}
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
