import { hash } from 'node:crypto'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Payment } from './ledger.ts'

/** Writes a payment's draft; the same key always writes the same file. */
export async function writeDraft(folder: string, payment: Payment, key: string): Promise<{ draft: string }> {
  const draft = `D-${hash('sha256', key, 'hex').slice(0, 12)}`
  await mkdir(folder, { recursive: true })
  const path = join(folder, `${draft}.json`)
  // Renamed into place, so that nobody reads a half.
  await writeFile(`${path}.tmp`, `${JSON.stringify({ draft, key, ...payment }, null, 2)}\n`)
  await rename(`${path}.tmp`, path)
  return { draft }
}
