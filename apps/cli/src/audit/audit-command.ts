import { type Config, MusterError } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import type { ExportVerification } from '@muster/verify'
import pc from 'picocolors'
import { fail, plain, print } from '../output.ts'
import type { Conduct } from '../replay/conduct.ts'
import { exportAudit } from './audit-export.ts'
import { readExporterKeys } from './audit-sign.ts'
import type { Scope } from './export-journals.ts'

export interface ExportFlags {
  to: string
  run?: string
  since?: string
  until?: string
  key: string[]
  older: string[]
  signKey?: string
  kmsKey?: string
}

/** `muster audit export`: writes a folder that proves what it holds, to be checked anywhere. */
export async function auditExportCommand(
  muster: Muster,
  config: Config,
  options: ExportFlags & { json: boolean },
): Promise<number> {
  const { to, key, older, json } = options
  const signers = await readExporterKeys(config, options)
  const progress = (line: string) => process.stderr.write(`${line}\n`)
  const exported = await exportAudit(muster, { to, scope: scopeOf(options), keys: key, older, signers, progress })
  const { runs, entries, files, fingerprint, exporterKeys, verifier, missing, expired } = exported
  if (json) print(exported)
  else {
    console.log(`${pc.green('exported')} ${runs} runs with ${entries} entries into ${plain(to)}, ${files} files`)
    console.log(`  fingerprint  ${fingerprint}`)
    console.log(`  verify.mjs   ${verifier}`)
    for (const vkey of exporterKeys) console.log(`  signed       ${vkey}`)
    if (expired.length > 0) console.log(`  ${expired.length} runs of the ledger have expired by rule`)
    for (const run of missing)
      console.log(`${pc.red('MISSING')} run ${plain(run)} is in the ledger and not there any more`)
    console.log(pc.dim(`check it with \`muster audit verify ${plain(to)}\`; tell the fingerprint some other way`))
  }
  return missing.length === 0 ? 0 : 1
}

function scopeOf({ run, since, until }: { run?: string; since?: string; until?: string }): Scope {
  if (run !== undefined) return { kind: 'run', run }
  if (since === undefined && until === undefined) return { kind: 'tenant' }
  const range = {
    ...(since === undefined ? {} : { since: timeOf(since, '--since') }),
    ...(until === undefined ? {} : { until: timeOf(until, '--until') }),
  }
  if (range.since !== undefined && range.until !== undefined && range.since >= range.until)
    throw new MusterError('request.invalid', `--until: ${until} is not after --since`, {
      issues: [{ path: '/until', message: 'a time after --since: no run was created between them' }],
    })
  return { kind: 'range', ...range }
}

function timeOf(text: string, option: string): number {
  const ms = /^\d{4}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms))
    throw new MusterError('request.invalid', `${option}: ${text} is no time`, {
      issues: [{ path: `/${option.slice(2)}`, message: 'a time such as 2026-11-28 or 2026-11-28T09:00:00Z' }],
    })
  return ms
}

export interface VerifyFlags {
  key: string[]
  exporterKey: string[]
  older: string[]
  receipt: string[]
  fingerprint?: string
  threads?: number
  replay: boolean
}

/** `muster audit verify`: what lies in every export as `verify.mjs`, run from here; with `replay` also what runs did. */
export async function auditVerifyCommand(folder: string, options: VerifyFlags & { json: boolean }): Promise<number> {
  const { main, summaryOf, verifyExport } = await import('@muster/verify')
  if (!options.replay) return main(argumentsOf(folder, options))
  const { key: keys, exporterKey: exporterKeys, older, receipt: receipts, fingerprint, threads, json } = options
  const given = {
    ...{ keys, exporterKeys, older, receipts },
    ...(fingerprint === undefined ? {} : { fingerprint }),
    ...(threads === undefined ? {} : { threads }),
  }
  let result: ExportVerification
  try {
    result = verifyExport(folder, given)
  } catch (error) {
    fail(error, json)
    return 2
  }
  const { replayExport } = await import('../replay/audit-replay.ts')
  const conduct = replayExport(folder)
  const ok = result.ok && conduct.breaches.length === 0
  if (json) print({ ...result, ok, conduct })
  else console.log(`${summaryOf(result)}\n\n${conductText(conduct)}`)
  return ok ? 0 : 1
}

function argumentsOf(folder: string, options: VerifyFlags & { json: boolean }): string[] {
  const { key, exporterKey, older, receipt, fingerprint, threads, json } = options
  const each = (name: string, values: readonly string[]) => values.flatMap((value) => [name, value])
  return [
    ...each('--key', key),
    ...each('--exporter-key', exporterKey),
    ...each('--older', older),
    ...each('--receipt', receipt),
    ...(fingerprint === undefined ? [] : ['--fingerprint', fingerprint]),
    ...(threads === undefined ? [] : ['--threads', String(threads)]),
    ...(json ? ['--json'] : []),
    folder,
  ]
}

const SHOWN_MAX = 100

function conductText({ decisions, same, effects, breaches, notCheckable }: Conduct): string {
  const at = ({ run, seq }: { run?: string; seq?: number }) => (run === undefined ? '' : ` run ${run}, entry ${seq}:`)
  const lines = [
    'CONDUCT',
    `  ${same} of ${decisions} decisions were made again by Cedar itself and came to the same; ${effects} effects.`,
    `  ${breaches.length} breaches; ${notCheckable.length} things cannot be told from this export.`,
    ...breaches.slice(0, SHOWN_MAX).map((breach) => `  [${breach.code}]${at(breach)} ${breach.message}`),
    ...notCheckable.slice(0, SHOWN_MAX).map((one) => `  not checkable:${at(one)} ${one.why}`),
  ]
  const more = Math.max(0, breaches.length - SHOWN_MAX) + Math.max(0, notCheckable.length - SHOWN_MAX)
  return [...lines, ...(more > 0 ? [`  … and ${more} more (--json has all)`] : [])].map(plain).join('\n')
}
