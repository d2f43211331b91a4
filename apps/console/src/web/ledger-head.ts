import type { LedgerConsistency, LedgerHead } from '@muster/protocol'
import type { VNode } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { ApiError, request } from './api.ts'
import { base64, fromBase64 } from './bytes.ts'
import { openCheckpoint, type SignedHead, Unproven } from './checkpoint.ts'
import { html } from './html.ts'
import { SignedBy } from './ledger-state.ts'
import { beginsWith } from './merkle.ts'
import { Copy, Fact, Problem, Time } from './parts.ts'
import { PinnedKeys, usePinnedKeys } from './pinned-keys.ts'
import { hashesOf } from './receipt.ts'
import { visible } from './text.ts'
import { requireCrypto } from './verify.ts'

const SEEN = 'muster.ledger-seen'

/** What this browser saw of a ledger last. */
interface Seen {
  size: number
  root: string
  at: number
}

interface Checked {
  head: SignedHead
  before: Seen | undefined
}

/** The ledger as it is now, and whether it begins with what this browser saw of it last time. */
export function LedgerHeadCard(): VNode {
  const pinned = usePinnedKeys()
  const [checked, setChecked] = useState<Checked>()
  const [error, setError] = useState<unknown>()
  const [round, setRound] = useState(0)
  const [busy, setBusy] = useState(true)
  useEffect(() => {
    const stop = new AbortController()
    setBusy(true)
    check(pinned, stop.signal).then(
      (found) => {
        if (stop.signal.aborted) return
        setChecked(found)
        setError(undefined)
        setBusy(false)
      },
      (error) => {
        if (stop.signal.aborted) return
        setChecked(undefined)
        setError(error)
        setBusy(false)
      },
    )
    return () => stop.abort()
  }, [pinned, round])
  const isOff = error instanceof ApiError && error.code === 'ledger.off'
  return html`
    <div class="card ledger-head">
      ${isOff && html`<p class="note" role="status">No ledger: this tenant has none, or no leaf in it yet.</p>`}
      ${error instanceof Unproven ? html`<p class="proof" data-ok="false" role="alert">✗ ${visible(error.message)}</p>` : !isOff && html`<${Problem} error=${error} />`}
      ${checked && html`<${Head} ...${checked} />`}
      ${checked && html`<${SignedBy} head=${checked.head} pinned=${pinned.length > 0} />`}
      ${!isOff && html`<${PinnedKeys} />`}
      <button type="button" disabled=${busy} onClick=${() => setRound(round + 1)}>${busy ? 'Checking…' : 'Check again'}</button>
    </div>
  `
}

function Head({ head, before }: Checked): VNode {
  return html`
    <dl class="facts">
      <${Fact} name="Name">${visible(head.origin)}<//>
      <${Fact} name="Leaves">${head.size.toLocaleString()}<//>
      <${Fact} name="Root"><${Copy} text=${base64(head.root)} /><//>
    </dl>
    <p class="proof" data-ok=${head.signers ? 'true' : 'unknown'} role="status">
      ${head.signers ? '✓ signed' : 'not checked'}${before ? html`, and it begins with the ${before.size} leaves that this browser saw <${Time} at=${before.at} />` : '; this browser has not seen it before'}
    </p>
  `
}

/** @throws Unproven, ApiError */
async function check(pinned: readonly string[], signal: AbortSignal): Promise<Checked> {
  requireCrypto()
  const told = await request<LedgerHead>('/v1/ledger', { signal })
  const head = await openCheckpoint(told.checkpoint, told.origin, pinned.length > 0 ? pinned : told.keys)
  const root = base64(head.root)
  if (told.size !== head.size || told.root !== root)
    throw new Unproven('the server tells another head than the one that is signed')
  const before = readSeen()[told.origin]
  if (before) await compare(before, head, signal)
  // What nobody is known to have signed is nothing to compare with.
  if (head.signers && !signal.aborted) {
    const now: Seen = { size: head.size, root, at: Date.now() }
    localStorage.setItem(SEEN, JSON.stringify({ ...readSeen(), [told.origin]: now }))
  }
  return { head, before }
}

async function compare(before: Seen, head: SignedHead, signal: AbortSignal): Promise<void> {
  const wrong = `REWRITTEN: it does not begin with the ${before.size} leaves that this browser saw ${new Date(before.at).toISOString()}`
  if (before.size > head.size) throw new Unproven(wrong)
  const query = new URLSearchParams({ from: String(before.size), to: String(head.size) })
  const { proof } = await request<LedgerConsistency>(`/v1/ledger/consistency?${query}`, { signal })
  const old = { size: before.size, root: fromBase64(before.root) ?? new Uint8Array() }
  if (!(await beginsWith(old, head, hashesOf(proof)))) throw new Unproven(wrong)
}

function readSeen(): Record<string, Seen> {
  try {
    return Object.fromEntries(Object.entries(JSON.parse(localStorage.getItem(SEEN) ?? '{}')))
  } catch {
    return {}
  }
}
