import type { RunEvent } from '@muster/protocol'
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { journal } from './api.ts'
import { count } from './format.ts'
import { html } from './html.ts'
import { Problem } from './parts.ts'
import { visible } from './text.ts'
import { requireCrypto, type Verification, verify } from './verify.ts'

interface Props {
  id: string
  /** What the page shows: checked against what is stored. */
  events: readonly RunEvent[]
  onResult: (verification: Verification) => void
}

/** Checks the run's journal in this browser and says what came of it. */
export function Verify({ id, events, onResult }: Props): VNode {
  const [result, setResult] = useState<Verification>()
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const check = async () => {
    setBusy(true)
    setError(undefined)
    try {
      requireCrypto()
      const { read, ...end } = await journal(id)
      const verification = await verify(id, read, end, events)
      setResult(verification)
      onResult(verification)
    } catch (error) {
      setError(error)
    }
    setBusy(false)
  }
  const [first] = result?.findings ?? []
  return html`
    <button type="button" onClick=${check} disabled=${busy}>${busy ? 'Verifying…' : 'Verify'}</button>
    <${Problem} error=${error} />
    ${result && !first && html`<span class="proof" data-ok="true" role="status" title=${`Checked in this browser: order, chain, content, decisions, and that this page shows what is stored. Head ${result.head}`}>✓ ok, ${count(result.entries, 'entry', 'entries')}${result.erased > 0 && `, content of ${result.erased} erased`}</span>`}
    ${first && html`<span class="proof" data-ok="false" role="alert">✗ entry ${first.seq}: ${visible(first.message)}${result && result.findings.length > 1 && ` (and ${count(result.findings.length - 1, 'more finding')})`}</span>`}
  `
}
