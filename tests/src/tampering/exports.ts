import { newVerifier } from '@muster/audit'
import type { StoredEntry } from '@muster/protocol'
import {
  type Files,
  type Made,
  type MadeRun,
  makeExport,
  makeRun,
  newSigner,
  origin,
  sealFiles,
} from '../export-fixture.ts'

/** What an auditor has besides the folder. */
interface Kept {
  /** A checkpoint from earlier. */
  older: Uint8Array
  /** A receipt of the first run, of the whole ledger. */
  receipt: Uint8Array
  fingerprint: string
}

/** An export that nobody has changed yet. */
export interface Genuine {
  files: Files
  runs: readonly MadeRun[]
  made: Made
  kept: Kept
}

const signer = newSigner('ledger')
const witness = newSigner('witness')
/** The keys that the auditor was given some other way. */
export const trusted = [
  newVerifier(origin, signer.publicKey).vkey,
  newVerifier('witness.example', witness.publicKey, 'cosignature/v1').vkey,
]

const runs = [3, 6, 1, 4].map((steps, i) => makeRun(1001 + i, steps))

/** A tenant's, one of a time whose ledger has more than a tile of leaves, and one of a single run. */
export function genuineExports(): Promise<Genuine[]> {
  const made: Made[] = [{ signer }, { others: 300 }, { others: 300, only: runs[1]?.id ?? '' }].map((one) => ({
    ...{ signer, witness },
    ...one,
  }))
  return Promise.all(
    made.map(async (one) => {
      const files = await makeExport(runs, one)
      files.set('verify.mjs', Buffer.from('// the verifier\n'))
      sealFiles(files, manifestOf(files))
      const whole = await makeExport(runs, { ...one, only: undefined })
      const before = await makeExport([], { ...one, only: undefined, others: (one.others ?? 0) && 256 })
      const [fingerprint = ''] = text(files, 'manifest.sha256').split(' ')
      const receipt = bytesOf(whole, `receipts/${runs[0]?.id}`)
      return {
        ...{ files, made: one, kept: { older: bytesOf(before, 'checkpoint'), receipt, fingerprint } },
        runs: runs.filter(({ id }) => one.only === undefined || id === one.only),
      }
    }),
  )
}

/** The export as it would be of other runs, or of the same in another ledger. */
export function remake({ made }: Genuine, other: Partial<Made>, of: readonly MadeRun[] = runs): Promise<Files> {
  return makeExport(of, { ...made, ...other })
}

export function bytesOf(files: Files, name: string): Uint8Array {
  const bytes = files.get(name)
  if (!bytes) throw new Error(`there is no ${name}`)
  return bytes
}

export const text = (files: Files, name: string): string => Buffer.from(bytesOf(files, name)).toString()

export const manifestOf = (files: Files): Record<string, unknown> => JSON.parse(text(files, 'manifest.json'))

export const linesOf = (files: Files, name: string): string[] => text(files, name).trimEnd().split('\n')

export const putLines = (files: Files, name: string, lines: readonly string[]): unknown =>
  files.set(name, Buffer.from(lines.map((line) => `${line}\n`).join('')))

/** Makes the manifest fit what there is, with all that it counts, where that can still be read. */
export function refit(files: Files, change: object = {}): void {
  const counts = { runs: 0, entries: 0, erased: 0, redacted: {} as Record<string, number> }
  for (const name of files.keys()) {
    if (!name.startsWith('runs/')) continue
    counts.runs++
    for (const line of linesOf(files, name)) {
      counts.entries++
      try {
        const { bytes, content }: StoredEntry = JSON.parse(line)
        const { content: digest, redacted = {} } = JSON.parse(bytes)
        if (digest !== undefined && content === undefined) counts.erased++
        for (const [kind, count] of Object.entries<number>(redacted))
          counts.redacted[kind] = (counts.redacted[kind] ?? 0) + count
      } catch {}
    }
  }
  sealFiles(files, { ...manifestOf(files), ...counts, ...change })
}
