import type { RunEvent } from '@muster/protocol'
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { exactClock } from './format.ts'
import { html } from './html.ts'
import { Copy } from './parts.ts'
import { visible } from './text.ts'
import type { Finding } from './verify.ts'

const PAGE = 200

/** Every entry with its place in the chain; those that do not verify are marked. */
export function JournalTable({
  events,
  findings,
}: {
  events: readonly RunEvent[]
  findings: readonly Finding[]
}): VNode {
  const [limit, setLimit] = useState(PAGE)
  const wrong = new Map(findings.map((finding) => [finding.seq, finding.message]))
  return html`
    <div class="scroll">
      <table class="entries">
        <thead><tr><th class="number">#</th><th>Time</th><th>Entry</th><th>Step</th><th>Hash</th><th>Content digest</th></tr></thead>
        <tbody>
          ${events.slice(0, limit).map(
            ({ seq, hash, entry }) => html`
              <tr key=${seq} data-wrong=${wrong.has(seq) || undefined} title=${wrong.get(seq)}>
                <td class="number">${seq}</td>
                <td class="id">${exactClock(entry.at)}</td>
                <td>${entry.type}</td>
                <td>${'step' in entry && entry.step !== undefined && visible(entry.step)}</td>
                <td><${Copy} text=${hash} short=${hash.slice(0, 12)} /></td>
                <td>${entry.content !== undefined && html`<${Copy} text=${entry.content} short=${entry.content.slice(0, 12)} />`}</td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
    ${events.length > limit && html`<p class="more"><button type="button" onClick=${() => setLimit(events.length)}>Show all ${events.length}</button></p>`}
  `
}
