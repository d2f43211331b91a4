import { writeFileSync } from 'node:fs'
import { type Verification, verifyJournal } from '@muster/audit'
import { MusterError, RunView, type StoredEntry } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { provenReceipt } from '../ledger/ledger-command.ts'
import { print } from '../output.ts'
import { eventOf, readStoredJournal } from '../replay/stored-journal.ts'
import { VERSION } from '../version.ts'
import { attemptsOf } from './report/attempts.ts'
import type { Evidence, ReceiptFinding } from './report/evidence.ts'
import { reportPage } from './report/page.ts'

interface ReportOptions {
  to?: string
  key: string[]
  content: boolean
  json: boolean
}

/** `muster audit report`: what a run did as one HTML file; exits 1 where its journal or its receipt does not hold. */
export async function auditReportCommand(muster: Muster, id: string, options: ReportOptions): Promise<number> {
  const { to = `evidence-${id}.html`, key, content, json } = options
  const evidence = await gather(muster, id, key, content)
  const { verification, receipt } = evidence
  const page = reportPage(evidence)
  if (to === '-') process.stdout.write(page)
  else writeFileSync(to, page, { mode: 0o600 })
  const ok = verification.ok && receipt.state !== 'fails'
  if (to === '-') return ok ? 0 : 1
  if (json) print({ ok, run: id, file: to, entries: verification.entries, receipt: receipt.state })
  else {
    const proof = ok ? pc.green('the journal is whole') : pc.red('the journal or its receipt DOES NOT HOLD')
    console.log(`wrote ${to}: ${verification.entries} entries, ${proof}, ledger: ${receipt.state}`)
  }
  return ok ? 0 : 1
}

/** From one reading of the stored bytes: what is shown is what was checked. */
async function gather(muster: Muster, id: string, key: readonly string[], content: boolean): Promise<Evidence> {
  const { entries, expected } = await readStoredJournal(muster, id)
  const stored: StoredEntry[] = []
  for await (const entry of entries) stored.push(entry)
  const verification = await verifyJournal(id, stored, expected)
  const events = stored.flatMap((entry) => eventOf(entry) ?? [])
  const view = new RunView()
  for (const event of events) view.add(event)
  const created = events[0]?.entry
  if (!view.run || created?.type !== 'run.created')
    throw new MusterError('journal.corrupt', `The journal of run ${id} does not begin with its creation`)
  return {
    ...{ at: Date.now(), muster: VERSION, run: view.run, created, events, attempts: attemptsOf(events) },
    ...{ verification, receipt: await receiptOf(muster, id, key, stored), content },
  }
}

async function receiptOf(
  muster: Muster,
  run: string,
  key: readonly string[],
  stored: readonly StoredEntry[],
): Promise<ReceiptFinding> {
  try {
    const { receipt, checkpoint, leaf } = await provenReceipt(muster, run, key)
    const why = checkpoint
      ? await differenceOf(run, leaf.run, () => verifyJournal(run, stored, { head: leaf.head, entries: leaf.seq }))
      : 'Its leaf is not proven to be in a checkpoint that a key of the ledger has signed.'
    return {
      ...{ state: why === undefined ? 'holds' : 'fails', ...(why === undefined ? {} : { why }), receipt, leaf },
      ...{ size: checkpoint?.size ?? 0, trusted: key.length > 0 },
      signed: (checkpoint?.verified ?? []).map(({ vkey, at }) => ({ vkey, at })),
    }
  } catch (error) {
    if (!(error instanceof MusterError) || !['ledger.off', 'ledger.not_sealed'].includes(error.code)) throw error
    return { state: 'none', why: `${error.message}.` }
  }
}

async function differenceOf(
  run: string,
  leafOf: string,
  verify: () => Promise<Verification>,
): Promise<string | undefined> {
  if (leafOf !== run) return 'Its leaf is of another run.'
  const [finding] = (await verify()).findings
  return finding && `Entry ${finding.seq}: ${finding.message}.`
}
