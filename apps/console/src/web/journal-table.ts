import type { RunEvent } from '@muster/protocol'
import type { VNode } from 'preact'
import { useMemo, useState } from 'preact/hooks'
import { count, exactClock, exactTime } from './format.ts'
import { html } from './html.ts'
import { Copy } from './parts.ts'
import { visible } from './text.ts'
import type { Finding } from './verify.ts'

const PAGE = 200
/** Rows that are drawn with one click more: browsers take seconds for a table of thousands. */
const MORE = 1000

/** Every entry with its place in the chain; those that do not verify are marked, and shown however far behind. */
export function JournalTable({
  events,
  findings,
}: {
  events: readonly RunEvent[]
  findings: readonly Finding[]
}): VNode {
  const [limit, setLimit] = useState(PAGE)
  const more = Math.min(MORE, events.length - limit)
  return html`
    <div class="scroll" role="region" aria-label="Entries" tabindex="0">
      <table class="entries cards">
        <thead><tr><th class="number">#</th><th>Time (UTC)</th><th>Entry</th><th>Step</th><th>Hash</th><th>Content digest</th></tr></thead>
        <tbody><${Rows} events=${events} findings=${findings} limit=${limit} /></tbody>
      </table>
    </div>
    ${more > 0 && html`<p class="more"><span class="note">${limit} of ${count(events.length, 'entry', 'entries')} shown. </span><button type="button" onClick=${() => setLimit(limit + MORE)}>Show ${more.toLocaleString()} more</button></p>`}
  `
}

function Rows({
  events,
  findings,
  limit,
}: {
  events: readonly RunEvent[]
  findings: readonly Finding[]
  limit: number
}): VNode {
  // The page moves with the time, these do not.
  return useMemo(() => {
    const wrong = new Map(findings.map((finding) => [finding.seq, finding.message]))
    return html`${events.filter(({ seq }, i) => i < limit || wrong.has(seq)).map((event) => html`<${Row} key=${event.seq} event=${event} wrong=${wrong.get(event.seq)} />`)}`
  }, [events, findings, limit])
}

function Row({ event: { seq, hash, entry, content }, wrong }: { event: RunEvent; wrong: string | undefined }): VNode {
  return html`
    <tr data-wrong=${wrong !== undefined || undefined}>
      <td data-name="#" class="number"><span>${seq}</span></td>
      <td data-name="Time (UTC)" class="id"><span title=${exactTime(entry.at)}>${exactClock(entry.at)}</span></td>
      <td data-name="Entry"><span>${entry.type}${wrong !== undefined && html`<br />✗ ${visible(wrong)}`}</span></td>
      <td data-name="Step" class="wraps"><span>${'step' in entry && entry.step !== undefined && visible(entry.step)}</span></td>
      <td data-name="Hash"><span><${Copy} text=${hash} short=${hash.slice(0, 12)} /></span></td>
      <td data-name="Content"><span>${entry.content !== undefined && html`<${Copy} text=${entry.content} short=${entry.content.slice(0, 12)} />${content === undefined && html` <span class="dim">gone</span>`}`}</span></td>
    </tr>
  `
}
