import type { Decision, KeyHolder, Label, RunStatus } from '@muster/protocol'
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { ApiError } from './api.ts'
import { exactTime, time } from './format.ts'
import { html } from './html.ts'
import { visible, written } from './text.ts'

/** What went wrong, and what to do; nothing when nothing did. */
export function Problem({
  error,
  hint = 'Check that the server runs.',
}: {
  error: unknown
  hint?: string
}): VNode | null {
  if (error === undefined) return null
  const detail = error instanceof Error ? error.message : String(error)
  const advice = error instanceof ApiError ? error.hint : hint
  return html`<div class="problem" role="alert"><strong>${visible(detail)}</strong> ${advice}</div>`
}

export function Status({ status }: { status: RunStatus | string }): VNode {
  return html`<span class="status" data-status=${status}>${status}</span>`
}

export function Time({ at }: { at: number }): VNode {
  return html`<time datetime=${exactTime(at)} title=${exactTime(at)}>${time(at)}</time>`
}

/** Who let a step go on or stopped it. An allow is the quiet case. */
export function DecisionMark({ decision }: { decision: Decision | undefined }): VNode | null {
  if (!decision) return null
  const { effect, policies, errors } = decision
  const by = policies.join(', ') || (errors ? 'a policy failed' : 'no policy permits')
  return html`<span class="decision" data-effect=${effect}><b>${effect}</b> ${visible(by)}</span>`
}

export function Labels({ labels, removed = [] }: { labels: readonly Label[]; removed?: readonly Label[] }): VNode {
  return html`
    ${labels.map((label) => html`<span class="label" key=${label}>#${visible(label)}</span>`)}
    ${removed.map((label) => html`<del class="label" key=${`-${label}`} title="taken off by this step">#${visible(label)}</del>`)}
  `
}

/** An id or a hash: short enough to read, copied whole. */
export function Copy({ text, short = text }: { text: string; short?: string }): VNode {
  const [copied, setCopied] = useState(false)
  const [refused, setRefused] = useState(false)
  const copy = async () => {
    if (!(await copyText(text))) return setRefused(true)
    setCopied(true)
    setTimeout(() => setCopied(false), 1200)
  }
  // To be selected by hand.
  if (refused) return html`<code class="whole">${visible(text)}</code>`
  return html`<button type="button" class="copy" title=${`Copy ${written(text)}`} onClick=${copy}>${copied ? 'copied' : visible(short)}</button>`
}

/** Whether it is in the clipboard now: over plain HTTP browsers give pages none. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return false
  }
}

/** A name and what it stands for, in a list of facts. */
export function Fact({ name, children }: { name: string; children?: unknown }): VNode {
  return html`<div class="fact"><dt>${name}</dt><dd>${children}</dd></div>`
}

/** In place of what is still asked for. */
export function Loading({ what }: { what: string }): VNode {
  return html`<p class="empty loading" role="status">Loading ${what}…</p>`
}

/** In place of what a key without a role is not shown, with the roles that let in. */
export function NoRole({ me, lets }: { me: KeyHolder; lets: readonly string[] }): VNode {
  const roles = lets.map((role, i) => html`${i > 0 && ' or '}<b>${role}</b>`)
  return html`<p class="empty">This key has no role: it is for the runs of <b>${visible(me.user)}</b> alone. The role ${roles} lets in here, and who has <b>admin</b> can give it.</p>`
}

/** In place of content that the record knows of and that is not there any more. */
export function Gone(): VNode {
  return html`<p class="note">Erased or expired. Its digest stays in the record, and the chain holds without it.</p>`
}
