import type { VNode } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { parseKey } from './checkpoint.ts'
import { html } from './html.ts'
import { Problem } from './parts.ts'

const PINNED = 'muster.ledger-keys'
const CHANGED = 'muster-ledger-keys'

function readPinned(): string[] {
  return (localStorage.getItem(PINNED) ?? '').split(/\s+/).filter(Boolean)
}

/** The keys that a person has told this browser to trust, and no others then. None where nobody has. */
export function usePinnedKeys(): string[] {
  const [pinned, setPinned] = useState(readPinned)
  useEffect(() => {
    const read = () => setPinned(readPinned())
    addEventListener(CHANGED, read)
    addEventListener('storage', read)
    return () => {
      removeEventListener(CHANGED, read)
      removeEventListener('storage', read)
    }
  }, [])
  return pinned
}

/** A small field for the keys to trust, in place of those that the server names. */
export function PinnedKeys(): VNode {
  const pinned = usePinnedKeys()
  // What was typed and is not pinned yet. Keys that change meanwhile, in another tab, do not take it away.
  const [typed, setTyped] = useState<string>()
  const [error, setError] = useState<unknown>()
  const text = typed ?? pinned.join(' ')
  const pin = async (event: SubmitEvent) => {
    event.preventDefault()
    const vkeys = text.split(/\s+/).filter(Boolean)
    for (const vkey of vkeys)
      if (!(await parseKey(vkey))) return setError(new Error(`${vkey.slice(0, 200)} is no vkey`))
    setError(undefined)
    if (vkeys.length === 0) localStorage.removeItem(PINNED)
    else localStorage.setItem(PINNED, vkeys.join(' '))
    setTyped((now) => (now === typed ? undefined : now))
    dispatchEvent(new Event(CHANGED))
  }
  return html`
    <details class="pinned">
      <summary>Ledger keys: ${pinned.length > 0 ? 'pinned in this browser' : 'those that the server names'}</summary>
      <form onSubmit=${pin}>
        <label>Trust only these vkeys <input value=${text} onInput=${(event: { currentTarget: HTMLInputElement }) => setTyped(event.currentTarget.value)} spellcheck=${false} autocomplete="off" placeholder="ledger.example.com/acme+…" /></label>
        <button type="submit">Pin</button>
      </form>
      <p class="note">Get them some other way than from this server: <code>muster ledger vkeys</code> prints them where the keys are. Leave it empty to take those that the server names.</p>
      <${Problem} error=${error} hint="A vkey is a name, a key id and a key, with + between." />
    </details>
  `
}
