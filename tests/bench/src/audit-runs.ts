/// <reference path="./dynalite-db.d.ts" />
import { promisify } from 'node:util'
import { auditItemsOf, openMemory } from '@muster/memory'
import type { AuditHit } from '@muster/protocol'
import { startDynamo } from '@muster/stack'
import { create, createKey } from 'dynalite/db/index.js'

export const HOUR_MS = 3_600_000
export const START_MS = Date.UTC(2026, 0, 1)
/** Runs whose items are written at once. */
const BATCH = 200

/**
 * Puts so many runs into the audit index of a tenant `bench`: the items that the index makes of them, straight into the
 * store of the embedded DynamoDB. By requests it takes four times the CPU time.
 */
export async function putRuns(dir: string, runs: number): Promise<void> {
  const dynamo = await startDynamo({ dir })
  // Which makes the table.
  const memory = await openMemory({ table: 'bench', endpoint: dynamo.endpoint ?? '' })
  memory.close()
  await dynamo.stop()

  const store = create({ path: dir })
  const table = await promisify(store.getTable)('bench')
  const items = store.getItemDb('bench')
  for (let from = 0; from < runs; from += BATCH) {
    const hits = Array.from({ length: Math.min(BATCH, runs - from) }, (_, i) => hitsOf(from + i)).flat()
    const puts = [...auditItemsOf('bench', hits)].map(({ pk, sk, last, hits }) => {
      const value = { pk: { S: pk }, sk: { S: sk }, last: { N: String(last) }, hits: { S: hits } }
      return { type: 'put' as const, key: createKey(value, table), value }
    })
    await promisify(items.batch)(puts)
  }
  await store.db.close()
}

/** The steps of a run: one in a hundred runs is denied its payment, one in ten is asked for it. A hundred runs an hour. */
function hitsOf(i: number): AuditHit[] {
  const run = `00000000-0000-7000-8000-${i.toString(16).padStart(12, '0')}`
  const at = START_MS + i * (HOUR_MS / 100)
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
      ...(asked ? { decisions: ['ask' as const, 'allow' as const], approvers: [`boss-${i % 70}`] } : {}),
      amounts: { amount: i % 10_000 },
    },
    { ...step(5, 'run', of.name), decisions: [], policies: [], status: denied ? 'failed' : 'succeeded' },
  ]
}
