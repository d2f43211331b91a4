import { type Verification, verifyBook, verifyJournal } from '@muster/audit'
import { RECORD_BOOK } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { print } from '../output.ts'
import { entriesOf, readStoredJournal } from '../replay/stored-journal.ts'

/**
 * Fetches a run's journal, or the record book, as it is stored and checks it here.
 *
 * @param known an entry that is known from elsewhere: how many there were, and the last one's hash
 */
export async function verifyRun(
  muster: Muster,
  id: string,
  known?: { head: string; entries: number },
): Promise<Verification> {
  if (id === RECORD_BOOK) return verifyBook(entriesOf(await muster.open('GET', '/v1/audit/records/stored')), known)
  const { entries, expected } = await readStoredJournal(muster, id)
  return verifyJournal(id, entries, known ?? expected)
}

/** `muster verify`: exits 0 when the journal is whole, 1 when it is not. */
export async function verifyCommand(muster: Muster, id: string, json: boolean): Promise<number> {
  const result = await verifyRun(muster, id)
  if (json) print({ run: id, ...result })
  else if (result.ok) {
    console.log(
      `${pc.green('ok')} ${result.entries} entries, chain unbroken, head ${result.head.slice(0, 16)}…${result.erased > 0 ? `, content of ${result.erased} erased` : ''}`,
    )
  } else {
    console.log(`${pc.red('ALTERED')} run ${id}`)
    for (const finding of result.findings) console.log(`  entry ${finding.seq}: ${finding.message}`)
  }
  return result.ok ? 0 : 1
}
