import type { KeyHolder } from '@muster/protocol'
import type { VNode } from 'preact'
import { html } from './html.ts'
import { mayHave } from './me.ts'
import { linkTo } from './route.ts'
import { visible } from './text.ts'

/** A name, and the way to the page about it where there is one that may be seen: an agent's runs, a key, who has keys. */
export function NameLink({ me, kind, name }: { me: KeyHolder | undefined; kind: string; name: string }): VNode {
  if (name === '') return html`<span class="dim">(none)</span>`
  const link = linkOf(kind, name, mayHave(me, 'auditor') || mayHave(me, 'admin'))
  return link === undefined ? html`${visible(name)}` : html`<a href=${link}>${visible(name)}</a>`
}

function linkOf(kind: string, name: string, seesKeys: boolean): string | undefined {
  if (kind === 'agent' || kind === 'plan') return `${linkTo('runs')}?${new URLSearchParams({ name })}`
  if (!seesKeys) return undefined
  if (kind === 'key') return linkTo('keys', name)
  if (kind === 'user' || kind === 'team') return `${linkTo('keys')}?${new URLSearchParams({ find: name })}`
  return undefined
}
