import type { MadeKey } from '@muster/protocol'
import type { VNode } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { html } from './html.ts'
import { copyText } from './parts.ts'
import { visible } from './text.ts'

/** A secret, once: it stands in this part of the page and nowhere else, and goes with it. */
export function KeySecret({ made, onDone }: { made: MadeKey; onDone: () => void }): VNode {
  const [said, setSaid] = useState('')
  const heading = useRef<HTMLHeadingElement>(null)
  const secret = useRef<HTMLElement>(null)
  useEffect(() => {
    heading.current?.focus()
    // A page that a browser keeps to go back to would have it still.
    addEventListener('pagehide', onDone)
    return () => removeEventListener('pagehide', onDone)
  }, [])
  const copy = async () => {
    if (await copyText(made.key)) return setSaid('Copied.')
    if (secret.current) getSelection()?.selectAllChildren(secret.current)
    setSaid('This browser does not let the page copy it. It is selected: copy it yourself.')
  }
  return html`
    <section class="card secret" aria-labelledby="secret">
      <h2 id="secret" tabindex="-1" ref=${heading}>The secret of ${visible(made.id)}</h2>
      <p><code ref=${secret}>${made.key}</code></p>
      <p class="warning"><b>It is shown now and never again.</b> Hand it to ${visible(made.user)} by a way that keeps secrets, not by mail or chat. Where it is lost, rotate the key.</p>
      <p class="answers">
        <button type="button" class="primary" onClick=${copy}>Copy the secret</button>
        <button type="button" onClick=${onDone}>Done</button>
        <span role="status">${said}</span>
      </p>
    </section>
  `
}
