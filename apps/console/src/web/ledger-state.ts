import type { LedgerReceipt, RunEvent } from '@muster/protocol'
import type { VNode } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { ApiError, request, serverNow } from './api.ts'
import { type SignedHead, Unproven } from './checkpoint.ts'
import { count } from './format.ts'
import { html } from './html.ts'
import { Problem, Time } from './parts.ts'
import { PinnedKeys, usePinnedKeys } from './pinned-keys.ts'
import { checkReceipt, type ProvenLeaf, readLeaf } from './receipt.ts'
import { visible } from './text.ts'
import { useRefresh } from './use-refresh.ts'
import { requireCrypto, type Verification } from './verify.ts'

const REFRESH_MS = 3000
/** Until then after its end a run is expected to enter the ledger, ms. */
const LATE_MS = 60_000

interface Props {
  id: string
  events: readonly RunEvent[]
  verification: Verification | undefined
}

/** Whether the run is in its tenant's ledger; all of it is worked out in this browser. */
export function LedgerState({ id, events, verification }: Props): VNode {
  const { receipt, absent, error } = useReceipt(id, events)
  const pinned = usePinnedKeys()
  const [proven, setProven] = useState<ProvenLeaf>()
  const [refuted, setRefuted] = useState<unknown>()
  const vkeys = pinned.length > 0 ? pinned : (receipt?.keys ?? [])
  useEffect(() => {
    let isOld = false
    const check = async () => {
      if (!receipt) return
      requireCrypto()
      const found = await checkReceipt(id, receipt, vkeys)
      if (isOld) return
      setProven(found)
      setRefuted(undefined)
    }
    check().catch((error) => {
      if (isOld) return
      setProven(undefined)
      setRefuted(error)
    })
    return () => {
      isOld = true
    }
  }, [id, receipt, vkeys.join(' ')])
  const wrong = refuted instanceof Unproven ? refuted.message : proven && differenceOf(proven, events, verification)
  const problem = error ?? (refuted instanceof Unproven ? undefined : refuted)
  return html`
    <div class="ledger">
      <${Problem} error=${problem} />
      ${absent !== undefined && html`<p class="note" role="status">${absent}</p>`}
      ${wrong !== undefined && html`<p class="proof" data-ok="false" role="alert">✗ not proven by the ledger: ${visible(wrong)}</p>`}
      ${proven && wrong === undefined && html`<${Proven} proven=${proven} events=${events} verification=${verification} />`}
      ${proven?.head && html`<${SignedBy} head=${proven.head} pinned=${pinned.length > 0} />`}
      ${receipt && html`<${PinnedKeys} />`}
    </div>
  `
}

function Proven({ proven, events, verification }: { proven: ProvenLeaf } & Omit<Props, 'id'>): VNode {
  const { leaf, index, head } = proven
  if (events.length < leaf.seq) return html`<p class="note">in the ledger, and the journal is still being read…</p>`
  const bytes = isVerified(leaf.seq, verification) ? 'its bytes too' : '“Verify” checks its bytes'
  return html`
    <p class="proof" data-ok=${head.signers ? 'true' : 'unknown'} role="status">
      ${head.signers ? '✓ in the ledger' : 'in the ledger’s tree'}: leaf ${index} of ${head.size}, ${count(leaf.seq, 'entry', 'entries')}, ${leaf.state}, <${Time} at=${leaf.at} />
      <span class="note"> the journal is what it was (${bytes})</span>
    </p>
  `
}

/** Who signed a head, and whose word that they are its ledger's keys is. */
export function SignedBy({ head, pinned }: { head: SignedHead; pinned: boolean }): VNode {
  if (!head.signers)
    return html`<p class="note" role="status">This browser has no Ed25519: who signed was <b>not</b> checked. <code>muster receipt</code> and <code>muster ledger</code> check it.</p>`
  const whose = pinned ? 'pinned in this browser' : 'that the server names'
  return html`
    <p class="note">
      Signed by ${head.signers.map(({ name, keyId, at }, i) => html`${i > 0 && ', '}${visible(name)} <code>${keyId}</code>${at !== undefined && html` (witness, <${Time} at=${at * 1000} />)`}`)}: keys ${whose}.
    </p>
  `
}

/** What of the journal is not as the leaf has it. */
function differenceOf(
  { leaf }: ProvenLeaf,
  events: readonly RunEvent[],
  verification: Verification | undefined,
): string | undefined {
  const hash = events[leaf.seq - 1]?.hash
  if (hash !== undefined && hash !== leaf.head) return `entry ${leaf.seq} has another hash than its leaf`
  const first = verification?.findings.find(({ seq }) => seq <= leaf.seq)
  return first && `entry ${first.seq} ${first.message}`
}

/** Whether what is shown up to this entry was compared with the bytes that are stored. */
function isVerified(seq: number, verification: Verification | undefined): boolean {
  return verification !== undefined && verification.findings.length === 0 && verification.shown >= seq
}

/** Whether a run leaves no newer leaf before its journal goes on: one that is parked may stay so for weeks. */
function isLast({ leaf }: LedgerReceipt, seq: number, hasEnded: boolean): boolean {
  try {
    const { state, seq: place } = readLeaf(leaf)
    return hasEnded ? state === 'ended' : state === 'parked' && place === seq
  } catch {
    return false
  }
}

/** The run's receipt, asked for again until it is that of its end; or why there is none. */
function useReceipt(id: string, events: readonly RunEvent[]) {
  const [receipt, setReceipt] = useState<LedgerReceipt>()
  const [absent, setAbsent] = useState<string>()
  const [error, setError] = useState<unknown>()
  const last = events.at(-1)
  const endedAt = last?.entry.type === 'run.ended' ? last.entry.at : undefined
  /** For this journal nothing newer is to come. */
  const [settled, setSettled] = useState<string>()
  const shown = `${id} ${last?.seq ?? 0}`
  // What grows while it is asked is no cause to ask anew at once.
  const now = useRef({ seq: 0, shown, settled })
  now.current = { seq: last?.seq ?? 0, shown, settled }
  useRefresh(
    async (signal) => {
      const { seq, shown, settled } = now.current
      if (seq === 0 || settled === shown) return
      try {
        const found = await request<LedgerReceipt>(`/v1/runs/${encodeURIComponent(id)}/receipt`, { signal })
        if (signal.aborted) return
        setReceipt((known) => (JSON.stringify(known) === JSON.stringify(found) ? known : found))
        setAbsent(undefined)
        setError(undefined)
        if (isLast(found, seq, endedAt !== undefined)) setSettled(shown)
      } catch (error) {
        if (signal.aborted) return
        const code = error instanceof ApiError ? error.code : ''
        const isOff = code === 'ledger.off'
        const isLate = endedAt !== undefined && serverNow() - endedAt > LATE_MS
        if (isOff) setAbsent('No ledger: this tenant has none, or no leaf in it yet.')
        else if (code !== 'ledger.not_sealed') setError(error)
        else if (isLate)
          setAbsent('Not in the ledger, though it ended more than a minute ago: no worker seals, or they are behind.')
        else setAbsent('Not in the ledger yet: its head enters when it ends or parks, and now and then while it runs.')
        if (isOff || isLate) setSettled(shown)
      }
    },
    REFRESH_MS,
    [id, last === undefined, endedAt, settled === shown],
  )
  return { receipt, absent, error }
}
