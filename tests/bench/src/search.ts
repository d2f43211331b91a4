import { parseArgs } from 'node:util'
import { openMemory } from '@muster/memory'
import type { AuditFilter, AuditHit } from '@muster/protocol'
import { startDynamo } from '@muster/stack'

/*
 * How long pages of `GET /v1/audit/search` take in the store: `node tests/bench/src/search.ts --runs 4000`. It fills an
 * index with runs of five steps, on DYNAMODB_ENDPOINT or an embedded one, and asks for pages of 50, cold and by cursor.
 */
const { values } = parseArgs({ options: { runs: { type: 'string', default: '4000' } } })
const runs = Number(values.runs)
const HOUR_MS = 3_600_000
const start = Date.UTC(2026, 0, 1)

const own = process.env.DYNAMODB_ENDPOINT === undefined ? await startDynamo({}) : undefined
const memory = await openMemory({
  table: 'muster-bench',
  endpoint: process.env.DYNAMODB_ENDPOINT ?? own?.endpoint ?? '',
})

/** The steps of a run: one in a hundred runs is denied its payment, one in ten is asked for it. */
function hitsOf(i: number): AuditHit[] {
  const run = `00000000-0000-7000-8000-${i.toString(16).padStart(12, '0')}`
  const at = start + i * (HOUR_MS / 100)
  const of = {
    run,
    name: `agent-${i % 20}`,
    version: '1',
    by: `user-${i % 500}`,
    labels: i % 4 === 0 ? ['untrusted'] : [],
  }
  const step = (seq: number, kind: string, target: string) => ({
    ...{ ...of, seq, at: at + seq, step: `s${seq}`, kind, target, status: 'ok', approvers: [], policies: ['works'] },
    decisions: ['allow' as const],
  })
  const denied = i % 100 === 0
  const asked = !denied && i % 10 === 0
  return [
    ...[step(1, 'model', 'default'), step(2, 'tool', 'invoice.read'), step(3, 'model', 'default')],
    {
      ...step(4, 'tool', 'ledger.pay'),
      ...(denied
        ? { status: 'denied', decisions: ['deny' as const], policies: ['never'], error: 'policy.denied' }
        : {}),
      ...(asked ? { decisions: ['ask' as const, 'allow' as const], approvers: [`boss-${i % 7}`] } : {}),
      amounts: { amount: i % 10_000 },
    },
    { ...step(5, 'run', of.name), decisions: [], policies: [], status: denied ? 'failed' : 'succeeded' },
  ]
}

const began = performance.now()
let next = 0
const fill = async () => {
  while (next < runs) await memory.auditIndex.put('bench', hitsOf(next++))
}
await Promise.all(Array.from({ length: 2 }, fill))
console.log(`${runs} runs in ${((performance.now() - began) / 1000).toFixed(0)} s`)

const middle = start + (runs / 2) * (HOUR_MS / 100)
const filters: Record<string, AuditFilter> = {
  everything: {},
  'of a person': { person: 'user-7' },
  'tool, denied': { tool: 'ledger.pay', decision: 'deny' },
  'approver, 10 days': { approver: 'boss-3', since: middle - 240 * HOUR_MS, until: middle },
  'tool and person': { tool: 'ledger.pay', by: 'user-7' },
  'label and agent': { label: 'untrusted', name: 'agent-4' },
  'amount from 9,990': { tool: 'ledger.pay', min: 9990 },
}
for (const [name, filter] of Object.entries(filters)) {
  const times: number[] = []
  let found = 0
  let scanned = 0
  let cursor: string | undefined
  for (let i = 0; i < 40; i++) {
    const from = performance.now()
    const page = await memory.auditIndex.search('bench', filter, { limit: 50, cursor })
    times.push(performance.now() - from)
    found += page.hits.length
    scanned += page.scanned
    cursor = page.cursor
  }
  times.sort((a, b) => a - b)
  const at = (part: number) => (times[Math.floor(part * (times.length - 1))] ?? 0).toFixed(1)
  console.log(`${name.padEnd(20)} p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, max ${at(1)} ms; ${found} found of ${scanned}`)
}
memory.close()
await own?.stop()
