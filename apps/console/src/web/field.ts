import type { VNode } from 'preact'
import { useId, useRef } from 'preact/hooks'
import { ApiError } from './api.ts'
import { html } from './html.ts'
import { visible } from './text.ts'

const DAY_MS = 24 * 3_600_000
const terms: [name: string, days: number][] = [
  ['30 days', 30],
  ['90 days', 90],
  ['a year', 365],
]

/** What the server says is wrong, by the field that it is about. */
export type FieldProblems = ReadonlyMap<string, string>

/** @param fieldOf the name of the field for what a path of the body is about */
export function fieldProblems(error: unknown, fieldOf: (path: string) => string): FieldProblems {
  const found = new Map<string, string>()
  for (const { path, message } of error instanceof ApiError ? error.issues : []) {
    const name = fieldOf(path)
    found.set(name, found.has(name) ? `${found.get(name)}; ${message}` : message)
  }
  return found
}

interface FieldProps {
  name: string
  label: string
  hint?: string
  problem?: string | undefined
  [attribute: string]: unknown
}

/** A field with its label, what it is for, and what is wrong with what stands in it. */
export function Field({ name, label, hint, problem, ...input }: FieldProps): VNode {
  const id = useId()
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      <input id=${id} name=${name} autocomplete="off" spellcheck=${false} ...${describedBy(id, hint, problem)} ...${input} />
      <${Notes} id=${id} hint=${hint} problem=${problem} />
    </div>
  `
}

/** A time in the zone of who looks, and the usual terms by one click. */
export function ExpiryField({ at, problem }: { at?: number | undefined; problem?: string | undefined }): VNode {
  const id = useId()
  const input = useRef<HTMLInputElement>(null)
  const fill = (text: string) => {
    if (input.current) input.current.value = text
  }
  const hint = 'In your time zone. Left empty, it does not expire.'
  return html`
    <div class="field">
      <label for=${id}>Expires</label>
      <input ref=${input} id=${id} name="expiresAt" type="datetime-local" step="1" defaultValue=${localTime(at)} ...${describedBy(id, hint, problem)} />
      <span class="terms">
        ${terms.map(([name, days]) => html`<button type="button" class="quiet" key=${name} onClick=${() => fill(localTime(Date.now() + days * DAY_MS))}><span class="unseen">Expires in </span>${name}</button>`)}
        <button type="button" class="quiet" onClick=${() => fill('')}><span class="unseen">Expires </span>never</button>
      </span>
      <${Notes} id=${id} hint=${hint} problem=${problem} />
    </div>
  `
}

/** A time as its field has it: to the second, without a zone; nothing for one that the field cannot have. */
export function localTime(at: number | undefined): string {
  const date = new Date((at ?? Number.NaN) - new Date(at ?? 0).getTimezoneOffset() * 60_000)
  return date.getUTCFullYear() <= 9999 ? date.toISOString().slice(0, 19) : ''
}

export function Notes({ id, hint, problem }: { id: string; hint?: string; problem?: string | undefined }): VNode {
  return html`
    ${problem !== undefined && html`<p class="field-problem" id=${`${id}-problem`}>${visible(problem)}</p>`}
    ${hint !== undefined && html`<p class="note" id=${`${id}-hint`}>${hint}</p>`}
  `
}

export function describedBy(
  id: string,
  hint: string | undefined,
  problem: string | undefined,
): Record<string, unknown> {
  const ids = [problem === undefined ? '' : `${id}-problem`, hint === undefined ? '' : `${id}-hint`].filter(Boolean)
  return {
    ...(ids.length > 0 ? { 'aria-describedby': ids.join(' ') } : {}),
    ...(problem === undefined ? {} : { 'aria-invalid': 'true' }),
  }
}
