import type { Json, RunEvent } from '@muster/protocol'
import { stringify } from 'csv-stringify/sync'
import { dateOf } from '../../output.ts'
import { actorOf, type RunContext } from './ocsf.ts'

const COLUMNS = [
  ...['id', 'time', 'run', 'seq', 'type', 'tenant', 'person', 'key', 'definition', 'version', 'step', 'kind', 'target'],
  ...[
    'status',
    'decision',
    'policies',
    'policy_set',
    'labels',
    'verdict',
    'role',
    'error',
    'cost_usd',
    'hash',
    'content',
  ],
] as const

type Row = Partial<Record<(typeof COLUMNS)[number], string | number | undefined>>

/** What a spreadsheet would compute is put in its way as text; every text is quoted, whatever it takes for a separator. */
const options = { escape_formulas: true, quoted_string: true, record_delimiter: '\r\n' } as const

export function csvHeader(): string {
  return stringify([[...COLUMNS]], options)
}

export function csvLine(event: RunEvent, context: RunContext, withContent: boolean): string {
  const row = rowOf(event, context, withContent ? event.content : undefined)
  return stringify([COLUMNS.map((name) => row[name])], options)
}

function rowOf(event: RunEvent, context: RunContext, content: Json | undefined): Row {
  const { entry, seq, hash } = event
  const { run, created } = context
  const { user, key } = actorOf(event, context)
  const decision = 'decision' in entry ? entry.decision : undefined
  const error = 'error' in entry ? entry.error : undefined
  return {
    ...{ id: `${run}/${seq}`, time: dateOf(entry.at), run, seq, type: entry.type, hash },
    ...{ tenant: created.tenant, person: user, key },
    ...{ definition: created.definition.name, version: created.definition.version },
    step: 'step' in entry ? entry.step : undefined,
    ...('target' in entry ? { kind: entry.kind, target: entry.target } : {}),
    status: 'status' in entry ? entry.status : undefined,
    ...(decision ? { decision: decision.effect, policies: decision.policies.join(' '), policy_set: decision.set } : {}),
    labels: 'labels' in entry ? entry.labels.join(' ') : undefined,
    verdict: 'verdict' in entry ? entry.verdict : undefined,
    role: 'role' in entry ? entry.role : undefined,
    error: error && `${error.code}: ${error.message}`,
    cost_usd: 'costUsd' in entry ? entry.costUsd : undefined,
    ...(content === undefined ? {} : { content: JSON.stringify(content) }),
  }
}
