import { MusterError } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { exportAudit, type Scope } from './audit-export.ts'
import { plain, print } from './output.ts'

/** `muster audit export`: writes a folder that proves what it holds, to be checked anywhere. */
export async function auditExportCommand(
  muster: Muster,
  options: { to: string; run?: string; since?: string; until?: string; key: string[]; older: string[]; json: boolean },
): Promise<number> {
  const { to, key, older, json } = options
  const progress = (line: string) => process.stderr.write(`${line}\n`)
  const exported = await exportAudit(muster, { to, scope: scopeOf(options), keys: key, older, progress })
  const { runs, entries, files, fingerprint, verifier, missing } = exported
  if (json) print(exported)
  else {
    console.log(`${pc.green('exported')} ${runs} runs with ${entries} entries into ${plain(to)}, ${files + 2} files`)
    console.log(`  fingerprint  ${fingerprint}`)
    console.log(`  verify.mjs   ${verifier}`)
    for (const run of missing)
      console.log(`${pc.red('MISSING')} run ${plain(run)} is in the ledger and not there any more`)
    console.log(pc.dim(`check it with \`muster audit verify ${plain(to)}\`; tell the fingerprint some other way`))
  }
  return missing.length === 0 ? 0 : 1
}

function scopeOf({ run, since, until }: { run?: string; since?: string; until?: string }): Scope {
  if (run !== undefined) return { kind: 'run', run }
  if (since === undefined && until === undefined) return { kind: 'tenant' }
  return {
    kind: 'range',
    ...(since === undefined ? {} : { since: timeOf(since, '--since') }),
    ...(until === undefined ? {} : { until: timeOf(until, '--until') }),
  }
}

function timeOf(text: string, option: string): number {
  const ms = /^\d{4}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms))
    throw new MusterError('request.invalid', `${option}: ${text} is no time`, {
      issues: [{ path: `/${option.slice(2)}`, message: 'a time such as 2026-11-28 or 2026-11-28T09:00:00Z' }],
    })
  return ms
}

/** `muster audit verify`: what lies in every export as `verify.mjs`, run from here. */
export async function auditVerifyCommand(
  folder: string,
  options: { key: string[]; older: string[]; receipt: string[]; fingerprint?: string; json: boolean },
): Promise<number> {
  const { main } = await import('@muster/verify')
  const { key, older, receipt, fingerprint, json } = options
  const each = (name: string, values: readonly string[]) => values.flatMap((value) => [name, value])
  return main([
    ...each('--key', key),
    ...each('--older', older),
    ...each('--receipt', receipt),
    ...(fingerprint === undefined ? [] : ['--fingerprint', fingerprint]),
    ...(json ? ['--json'] : []),
    folder,
  ])
}
