import type { VNode } from 'preact'
import { useMemo, useState } from 'preact/hooks'
import { count, duration, money } from './format.ts'
import { html } from './html.ts'
import { DecisionMark, Labels } from './parts.ts'
import { linkTo, replaceRoute } from './route.ts'
import { type Scale, scaleOf } from './scale.ts'
import type { Span } from './spans.ts'
import { visible, written } from './text.ts'

/** Rows that are drawn before they are asked for. */
const ROWS_MAX = 300

/** Rows that are drawn with one click more. */
const MORE = 1000

/** Rows that are drawn anew together: of thousands, only those among which something has changed. */
const ROWS_AT_ONCE = 100

/** So many pauses are drawn in each row, or none. */
const PAUSES_MAX = 40

/** A time written further to the right would be cut. */
const TICK_MAX = 0.92

const glyphs: Record<Span['status'], string> = {
  ok: '✓',
  failed: '✗',
  denied: '⊘',
  cancelled: '∅',
  skipped: '↷',
  running: '●',
  waiting: '◔',
}

interface Props {
  run: string
  spans: readonly Span[]
  from: number
  to: number
  /** The span whose panel is open. */
  chosen: number | undefined
  /** Nothing more is to come. */
  ended: boolean
}

/** A row for each attempt of a step: its bar in the run's time, who decided, what it cost. */
export function Waterfall({ run, spans, from, to, chosen, ended }: Props): VNode {
  const [limit, setLimit] = useState(ROWS_MAX)
  const scale = useMemo(() => scaleOf(spans, from, to), [spans, from, to])
  const drawn = Math.min(limit, spans.length)
  const more = Math.min(MORE, spans.length - limit)
  return html`
    <section class="waterfall card" aria-label="Steps">
      <${Axis} spans=${spans} scale=${scale} from=${from} />
      <ol onKeyDown=${moveFocus}>
        ${Array.from({ length: Math.ceil(drawn / ROWS_AT_ONCE) }, (_, i) => {
          const some = [i * ROWS_AT_ONCE, Math.min((i + 1) * ROWS_AT_ONCE, drawn)] as const
          const isAmong = spans.slice(...some).some(({ seq }) => seq === chosen)
          return html`<${Rows} key=${i} run=${run} spans=${spans} first=${some[0]} end=${some[1]} scale=${scale} to=${to} chosen=${isAmong ? chosen : undefined} />`
        })}
      </ol>
      ${spans.length === 0 && html`<p class="empty">${ended ? 'It took no step.' : 'No step yet.'}</p>`}
      ${more > 0 && html`<p class="more"><span class="note">${drawn.toLocaleString()} of ${count(spans.length, 'step')} shown. </span><button type="button" onClick=${() => setLimit(limit + MORE)}>Show ${more.toLocaleString()} more</button></p>`}
    </section>
  `
}

function Rows({
  run,
  spans,
  first,
  end,
  scale,
  to,
  chosen,
}: Pick<Props, 'run' | 'spans' | 'to' | 'chosen'> & { first: number; end: number; scale: Scale }): VNode {
  return useMemo(() => {
    const choose = (seq: number) => replaceRoute(seq === chosen ? linkTo('runs', run) : linkTo('runs', run, seq))
    return html`${spans.slice(first, end).map((span) => html`<${Row} key=${span.seq} span=${span} scale=${scale} to=${to} chosen=${span.seq === chosen} choose=${choose} />`)}`
  }, [run, spans, first, end, scale, to, chosen])
}

function Axis({ spans, scale, from }: { spans: readonly Span[]; scale: Scale; from: number }): VNode {
  const kinds = [...new Set(spans.map((span) => span.kind))]
  return html`
    <div class="axis">
      <div class="legend">${kinds.map((kind) => html`<span key=${kind} data-kind=${kind}>${kind}</span>`)}</div>
      <div class="ticks" aria-hidden="true">
        ${scale.ticks.filter(({ time }) => scale.at(time) < TICK_MAX).map(({ time, ms }) => html`<span key=${ms} style=${{ left: percent(scale.at(time)) }}>${time === from ? '0' : duration(ms)}</span>`)}
      </div>
    </div>
  `
}

function Row({
  span,
  scale,
  to,
  chosen,
  choose,
}: {
  span: Span
  scale: Scale
  to: number
  chosen: boolean
  choose: (seq: number) => void
}): VNode {
  const { step, kind, status, attempt, seq } = span
  const end = span.to ?? to
  return html`
    <li class="row" data-status=${status} data-kind=${kind} data-chosen=${chosen || undefined}>
        <span class="glyph" aria-hidden="true" title=${status}>${glyphs[status]}</span>
        <button type="button" class="name" title=${written(step)} aria-expanded=${chosen} onClick=${() => choose(seq)}>
          ${visible(step)}${attempt > 1 && html` <span class="dim">×${attempt}</span>`}<span class="unseen">, ${status}</span>
        </button>
        <span class="track">
          ${scale.ticks.map(({ time, ms }) => html`<i key=${ms} class="tick" style=${{ left: percent(scale.at(time)) }} />`)}
          ${scale.pauses.length <= PAUSES_MAX && scale.pauses.map((pause) => html`<i key=${`p${pause.from}`} class="pause" title=${`nothing ran for ${duration(pause.to - pause.from)}`} style=${place(scale, pause.from, pause.to)} />`)}
          <i class="bar" style=${place(scale, span.from, end)} />
          ${span.waits.map((wait) => html`<i key=${`w${wait.from}`} class="wait" style=${place(scale, wait.from, wait.to ?? end)} />`)}
        </span>
        <span class="notes">
          ${span.asked && html`<span class="decision" data-effect="ask">${said(span)}</span>`}
          ${(!span.asked || span.decision?.effect !== 'ask') && html`<${DecisionMark} decision=${span.decision} />`}
          <${Labels} labels=${span.labels} removed=${span.declassified} />
          ${span.child !== undefined && html`<a href=${linkTo('runs', span.child)} title=${`Run ${span.child}`}>child run</a>`}
          ${status === 'failed' && span.error && html`<span class="decision" data-effect="deny">${span.error.code}${span.retry && ', tried again'}</span>`}
        </span>
        <span class="number took">${duration(Math.max(0, end - span.from))}</span>
        <span class="number cost">${money(span.costUsd)}</span>
    </li>
  `
}

function said({ asked, verdict }: Span): unknown {
  if (verdict) return html`<b>${verdict.verdict === 'approve' ? 'approved' : 'refused'}</b> by ${visible(verdict.user)}`
  return html`<b>${asked?.doubt ? 'in doubt' : 'ask'}</b> ${visible(asked?.role ?? '')}`
}

/** Up and down go from row to row. */
function moveFocus(event: KeyboardEvent): void {
  if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return
  const row = (event.target as HTMLElement).closest('li')
  const next = event.key === 'ArrowDown' ? row?.nextElementSibling : row?.previousElementSibling
  next?.querySelector('button')?.focus()
  event.preventDefault()
}

function place(scale: Scale, from: number, to: number): Record<string, string> {
  const left = scale.at(from)
  return { left: percent(left), width: percent(Math.max(0, scale.at(to) - left)) }
}

function percent(part: number): string {
  return `${(part * 100).toFixed(3)}%`
}
