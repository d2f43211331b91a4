import type { VNode } from 'preact'
import { html } from './html.ts'

/**
 * Characters that are not seen or that turn the order of others around (Unicode TR36 and TR39): a stranger could
 * make an amount or a name look like another with them.
 */
const unseen = /[[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]--[\n\t]]/gv

/** Text with every such character written out and marked. */
export function visible(text: string): (string | VNode)[] {
  const parts: (string | VNode)[] = []
  let from = 0
  for (const { 0: character, index } of text.matchAll(unseen)) {
    parts.push(text.slice(from, index), html`<mark title="a character that is not seen">${escaped(character)}</mark>`)
    from = index + character.length
  }
  parts.push(text.slice(from))
  return parts
}

/** The same where there can be no mark: in titles and labels. */
export function written(text: string): string {
  return text.replaceAll(unseen, escaped)
}

function escaped(character: string): string {
  return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`
}
