import type { Json } from '@muster/protocol'
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { html } from './html.ts'
import { visible } from './text.ts'

const LENGTH_MAX = 3000
const LINES_MAX = 40

/** A value as a step was given it or gave it. What is long is cut until it is asked for. */
export function Content({ value, onWhole }: { value: Json; onWhole?: () => void }): VNode {
  const [whole, setWhole] = useState(false)
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2)
  const cut = whole ? text : cutOf(text)
  const showAll = () => {
    setWhole(true)
    onWhole?.()
  }
  return html`
    <div class="content">
      <pre tabindex="0">${typeof value === 'string' ? visible(cut) : colored(cut)}${cut.length < text.length && '…'}</pre>
      ${
        cut.length < text.length &&
        html`<button type="button" class="quiet" onClick=${showAll}>Show all ${text.length.toLocaleString()} characters</button>`
      }
    </div>
  `
}

/** Whether a value is shown only in part at first. */
export function isCut(value: Json): boolean {
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2)
  return cutOf(text).length < text.length
}

function cutOf(text: string): string {
  const lines = text.split('\n', LINES_MAX + 1)
  const cut = lines.length > LINES_MAX ? lines.slice(0, LINES_MAX).join('\n') : text
  return cut.slice(0, LENGTH_MAX)
}

/** Keys, strings and other values of JSON text; a cut one as far as it goes. */
const token = /("(?:[^"\\]|\\.)*"?)(\s*:)?|\b(?:true|false|null|-?\d[\d.eE+-]*)\b/g

function colored(text: string): unknown[] {
  const parts: unknown[] = []
  let from = 0
  for (const match of text.matchAll(token)) {
    const [all, string, colon] = match
    const kind = string === undefined ? 'value' : colon === undefined ? 'string' : 'name'
    parts.push(
      text.slice(from, match.index),
      html`<span class=${`json-${kind}`}>${visible(string ?? all)}</span>`,
      colon,
    )
    from = match.index + all.length
  }
  parts.push(text.slice(from))
  return parts
}
