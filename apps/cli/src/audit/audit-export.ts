import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import {
  base64,
  formatProof,
  parseCheckpoint,
  parseNote,
  parseVerifier,
  type Signer,
  type Tile,
  TileLog,
  tileWidth,
} from '@muster/audit'
import { joinCounts, MusterError, RECORD_BOOK, type RedactCounts } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { overHttp } from '../ledger/ledger-command.ts'
import { signManifest } from './audit-sign.ts'
import { copiedTiles, Folder } from './export-folder.ts'
import { copyAll, copyRun, each, fileOf, type Progress, type Scope } from './export-journals.ts'
import { copyPolicies } from './export-policies.ts'

const FORMAT = 'muster-audit-export/1'

export interface Exported {
  to: string
  tenant: string
  runs: number
  entries: number
  files: number
  /** Of the manifest, which has those of all other files. */
  fingerprint: string
  /** Keys that the exporter's signature can be checked with; none where nobody signed. */
  exporterKeys: string[]
  /** SHA-256 of the verifier that lies in the export. */
  verifier: string
  /** Runs that the ledger has and the server has not any more. */
  missing: string[]
  /** Runs that were removed by a rule: so the server says, and its records. */
  expired: Expired[]
}

interface Expired {
  run: string
  at: number
  /** Place of the rule. */
  rule: string
}

/**
 * Writes what proves the runs that it is about, as it stands now: journals, tiles, receipts, policies, keys, and the verifier.
 *
 * @param older checkpoints that are to be checked later: the tiles for that come along
 * @param keys of witnesses, which the server does not know
 * @param signers sign the manifest
 * @throws MusterError `config.invalid`, `ledger.off`, `ledger.not_sealed`, `run.not_found`
 */
export async function exportAudit(
  muster: Muster,
  options: {
    to: string
    scope: Scope
    keys: readonly string[]
    older: readonly string[]
    signers: readonly Signer[]
    progress: Progress
  },
): Promise<Exported> {
  const { scope, signers, progress } = options
  const older = options.older.map(sizeOfCheckpoint)
  for (const vkey of options.keys)
    if (!parseVerifier(vkey)) throw new MusterError('ledger.key_invalid', `${vkey} is no vkey`)
  // Of one run, its receipt says under which checkpoint.
  const receipt = scope.kind === 'run' ? await muster.ledger.receipt(scope.run) : undefined
  const head = receipt ? { ...receipt, size: sizeOf(receipt.checkpoint) } : await muster.ledger.head()
  const folder = new Folder(options.to)
  const all = receipt
    ? await copyRun(muster, folder, receipt.run, head)
    : await copyAll(muster, { folder, scope, progress, head })
  const { journals, book } = all
  const { size, origin, checkpoint, keys } = all.head
  await folder.write('checkpoint', [checkpoint])
  await folder.write(
    'keys',
    [...new Set([...keys, ...options.keys])].map((vkey) => `${vkey}\n`),
  )
  const log = new TileLog(copiedTiles(folder, overHttp(muster)))
  if (receipt) {
    await log.root(size)
    await log.inclusion(receipt.index, size)
    const inclusion = receipt.inclusion.flatMap((hash) => base64(hash) ?? [])
    const proof = { index: receipt.index, inclusion, checkpoint, entry: Buffer.from(receipt.leaf) }
    await folder.write(`receipts/${receipt.run}`, [formatProof(proof)])
  } else {
    await copyTiles(log, size, progress)
    await each(all.sealed, async ([run, { index, leaf }]) => {
      if (!folder.hashes.has(fileOf(run))) return
      const inclusion = await log.inclusion(index, size)
      await folder.write(`receipts/${run}`, [formatProof({ index, inclusion, checkpoint, entry: leaf })])
    })
  }
  for (const proven of older) if (proven <= size) await log.consistency(proven, size)

  if (receipt) await copyPolicies(muster, folder, all.sets)
  const verifier = await folder.write('verify.mjs', [
    await readFile(fileURLToPath(import.meta.resolve('@muster/verify'))),
  ])
  const tenant = decodeURIComponent(origin.slice(origin.lastIndexOf('/') + 1))
  const { gone, expired } = await whyMissing(muster, all.missing)
  const copied = [...journals.values()]
  const [runs, records] = [copied.length, book?.records ?? 0]
  const entries = copied.reduce((sum, one) => sum + one.entries, 0)
  const erased = copied.reduce((sum, one) => sum + one.erased, 0)
  const redacted = copied.reduce<RedactCounts>((sum, one) => joinCounts(sum, one.redacted) ?? sum, {})
  const unsealed = [...journals.keys(), ...(book ? [RECORD_BOOK] : [])].filter((run) => !all.sealed.has(run))
  const budgets = (await muster.budgets.list()).map(({ name, period, limits }) => ({ name, period, limits }))
  const manifest = {
    ...{ format: FORMAT, exportedAt: new Date().toISOString(), tenant, origin, size, scope },
    ...{
      runs,
      entries,
      records,
      erased,
      redacted,
      unsealed: receipt ? [] : unsealed.sort(),
      missing: gone.sort(),
      budgets,
    },
    files: Object.fromEntries([...folder.hashes].sort(([a], [b]) => (a < b ? -1 : 1))),
  }
  const text = `${JSON.stringify(manifest, null, 2)}\n`
  const fingerprint = createHash('sha256').update(text).digest('hex')
  const signed = await signManifest({ format: FORMAT, origin, fingerprint }, signers)
  // Last, so that an export that broke off has none.
  await folder.write('manifest.json', [text])
  await folder.write('manifest.sha256', [`${fingerprint}  manifest.json\n`])
  if (signers.length > 0) await folder.write('manifest.sig', [signed.note])
  const files = folder.hashes.size
  return {
    ...{ to: options.to, tenant, runs, entries, files, fingerprint, exporterKeys: signed.vkeys, verifier },
    ...{ missing: gone, expired },
  }
}

/** Parts runs that expired from those of which nobody knows why they are not there. */
async function whyMissing(muster: Muster, missing: readonly string[]): Promise<{ gone: string[]; expired: Expired[] }> {
  const gone = new Set(missing)
  const expired: Expired[] = []
  if (gone.size > 0)
    for await (const { run, erased } of muster.audit.removed())
      if (gone.delete(run)) expired.push({ run, at: erased.at, rule: erased.id ?? '' })
  return { gone: [...gone], expired }
}

function sizeOfCheckpoint(file: string): number {
  try {
    return sizeOf(readFileSync(file, 'utf8'))
  } catch (cause) {
    if (cause instanceof MusterError) throw cause
    throw new MusterError('config.invalid', `${file} cannot be read`, { cause })
  }
}

function sizeOf(checkpoint: string): number {
  const size = parseCheckpoint(parseNote(checkpoint)?.text ?? '')?.size
  if (size === undefined) throw new MusterError('ledger.corrupt', 'A checkpoint cannot be read')
  return size
}

/** Every tile and bundle of the tree. */
async function copyTiles(log: TileLog, size: number, progress: Progress): Promise<void> {
  const copyLevel = async (level: Tile['level']) => {
    for (let index = 0; tileWidth(level, index, size) > 0; index++) {
      await log.tile({ level, index, width: tileWidth(level, index, size) })
      if (index % 100 === 99) progress(`${index + 1} tiles of level ${level}`)
    }
  }
  await copyLevel('entries')
  for (let level = 0; tileWidth(level, 0, size) > 0; level++) await copyLevel(level)
}
