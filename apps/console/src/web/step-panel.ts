import type { Json } from '@muster/protocol'
import type { VNode } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { Content } from './content.ts'
import { duration, exactClock, exactTime, money } from './format.ts'
import { html } from './html.ts'
import { Copy, DecisionMark, Fact, Gone, Labels } from './parts.ts'
import { linkTo, replaceRoute } from './route.ts'
import type { Span } from './spans.ts'
import { visible, written } from './text.ts'

/** Everything that the journal says of one attempt of a step. */
export function StepPanel({ run, span, spans }: { run: string; span: Span; spans: readonly Span[] }): VNode {
  const close = () => {
    replaceRoute(linkTo('runs', run))
    document.querySelector<HTMLElement>('[data-chosen] button')?.focus()
  }
  const panel = useRef<HTMLElement>(null)
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'Escape') close()
    }
    addEventListener('keydown', onKey)
    // Where the panel covers the rows, the keyboard must be in it.
    if (panel.current && getComputedStyle(panel.current).position === 'fixed')
      panel.current.querySelector('button')?.focus()
    return () => removeEventListener('keydown', onKey)
  }, [])
  const { decision, error, usage } = span
  const gone = erasedOf(span)
  const asker = span.input === undefined && !gone.has('input') ? askerOf(span, spans) : undefined
  return html`
    <aside class="panel card" aria-label=${`Step ${written(span.step)}`} ref=${panel}>
      <header>
        <h2 data-kind=${span.kind}>${visible(span.step)}</h2>
        <button type="button" class="quiet" aria-label="Close" title="Close (Esc)" onClick=${close}>✕</button>
      </header>
      ${error && html`<div class="problem"><strong>${error.code}</strong> ${visible(error.message)}</div>`}
      <dl class="facts">
        <${Fact} name="Status">${span.status}${span.retry && ', tried again'}<//>
        <${Fact} name=${span.kind}>${visible(span.target)}${span.model !== undefined && html` <span class="dim">answered by ${visible(span.model)}</span>`}<//>
        <${Fact} name="Attempt">${span.attempt}<//>
        ${span.to !== undefined && html`<${Fact} name="Took">${duration(span.to - span.from)}<//>`}
        ${span.costUsd > 0 && html`<${Fact} name="Cost">${money(span.costUsd)}<//>`}
        ${usage && html`<${Fact} name="Tokens">${usage.inputTokens.toLocaleString()} in, ${usage.outputTokens.toLocaleString()} out<//>`}
        ${span.child !== undefined && html`<${Fact} name="Child run"><a href=${linkTo('runs', span.child)}>${span.child}</a><//>`}
      </dl>
      ${
        decision &&
        html`
          <h3>Decision</h3>
          <p><${DecisionMark} decision=${decision} /></p>
          ${decision.errors?.map((text) => html`<p class="problem" key=${text}>${visible(text)}</p>`)}
          ${span.verdict && html`<p>${span.verdict.verdict === 'approve' ? 'Approved' : 'Refused'} by <b>${visible(span.verdict.user)}</b> as ${visible(span.verdict.role)}</p>`}
          <dl class="facts"><${Fact} name="Policy set"><${Copy} text=${decision.set} short=${decision.set.slice(0, 16)} /><//></dl>
        `
      }
      ${(span.labels.length > 0 || span.declassified.length > 0) && html`<h3>Labels</h3><p><${Labels} labels=${span.labels} removed=${span.declassified} /></p>`}
      ${span.input !== undefined && html`<h3>Input</h3><${Content} value=${span.input} />`}
      ${gone.has('input') && html`<h3>Input</h3><${Gone} />`}
      ${gone.has('shown') && html`<h3>Shown to the approver</h3><${Gone} />`}
      ${span.shown !== undefined && html`<h3>Shown to the approver</h3><${Content} value=${span.shown} />`}
      ${asker && html`<h3>Input</h3><p class="note">A pure step keeps none of its own. The model gave it in <a href=${linkTo('runs', run, asker.seq)}>${visible(asker.step)}</a>.</p>`}
      ${span.output !== undefined && html`<h3>Output</h3><${Output} span=${span} />`}
      ${gone.has('output') && html`<h3>Output</h3><${Gone} />`}
      <h3>Record</h3>
      <dl class="facts proof-facts">
        ${span.effect !== undefined && html`<${Fact} name="Effect">${span.effect}<//>`}
        ${span.idempotencyKey !== undefined && html`<${Fact} name="Idempotency key"><${Copy} text=${span.idempotencyKey} /><//>`}
        ${span.request !== undefined && html`<${Fact} name="Request digest"><${Copy} text=${span.request} short=${`${span.request.slice(0, 24)}…`} /><//>`}
      </dl>
      ${span.events.map(
        ({ seq, hash, entry }) => html`
          <dl class="facts entry" key=${seq}>
            <${Fact} name=${`Entry ${seq}`}>${entry.type} <span class="dim" title=${exactTime(entry.at)}>${exactClock(entry.at).replace('Z', ' UTC')}</span><//>
            <${Fact} name="Hash"><${Copy} text=${hash} short=${`${hash.slice(0, 24)}…`} /><//>
            ${entry.content !== undefined && html`<${Fact} name="Content digest"><${Copy} text=${entry.content} short=${`${entry.content.slice(0, 24)}…`} /><//>`}
          </dl>
        `,
      )}
    </aside>
  `
}

/** What of a step is not there any more, though the journal has its digest. */
function erasedOf({ events }: Span): ReadonlySet<'input' | 'shown' | 'output'> {
  const gone = new Set<'input' | 'shown' | 'output'>()
  for (const { entry, content } of events) {
    if (entry.content === undefined || content !== undefined) continue
    if (entry.type === 'step.intent') gone.add('input')
    if (entry.type === 'step.waiting' && (entry.for === 'approval' || entry.for === 'doubt')) gone.add('shown')
    if (entry.type === 'step.ended') gone.add(entry.status === 'denied' ? 'input' : 'output')
  }
  return gone
}

/** A model's turn as text and calls; anything else as it is. */
function Output({ span }: { span: Span }): VNode {
  const turn = span.kind === 'model' ? turnOf(span.output) : undefined
  if (!turn) return html`<${Content} value=${span.output} />`
  return html`
    ${turn.text !== '' && html`<${Content} value=${parsed(turn.text)} />`}
    ${turn.calls.map(({ name, args }, i) => html`<p class="call" key=${i}>calls <code>${visible(name)}</code></p><${Content} value=${parsed(args)} />`)}
  `
}

function turnOf(output: Json | undefined): { text: string; calls: { name: string; args: string }[] } | undefined {
  if (output === undefined || output === null || typeof output !== 'object' || Array.isArray(output)) return undefined
  const { text, toolCalls, reasoning: _, ...rest } = output
  if (!Array.isArray(toolCalls) || (text !== null && typeof text !== 'string') || Object.keys(rest).length > 0)
    return undefined
  const calls: { name: string; args: string }[] = []
  for (const call of toolCalls) {
    if (call === null || typeof call !== 'object' || Array.isArray(call)) return undefined
    const { name, arguments: args } = call
    if (typeof name !== 'string' || typeof args !== 'string') return undefined
    calls.push({ name, args })
  }
  return { text: text ?? '', calls }
}

/** JSON that a model wrote as text, where it is JSON. */
function parsed(text: string): Json {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** The model's turn that asked for a step: an agent's steps begin with the turn's number. */
function askerOf(span: Span, spans: readonly Span[]): Span | undefined {
  const [, turn] = span.kind === 'model' ? [] : (/^(\d+)\./.exec(span.step) ?? [])
  return turn === undefined ? undefined : spans.find((one) => one.kind === 'model' && one.step === `${turn}.model`)
}
