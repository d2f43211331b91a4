import { openMemory } from '@muster/memory'
import type { AuditFilter } from '@muster/protocol'
import { HOUR_MS, START_MS } from '../audit-runs.ts'
import { percentile, type Subject } from '../subject.ts'

const LIMIT = 50

const middleOf = (runs: number) => START_MS + (runs / 2) * (HOUR_MS / 100)

/** What is searched for, by what it is called. */
export function searches(runs: number): Record<string, AuditFilter> {
  const middle = middleOf(runs)
  return {
    everything: {},
    'a person': { person: 'user-7' },
    'a tool': { tool: 'ledger.pay' },
    'a resource': { resource: 'default' },
    denied: { decision: 'deny' },
    'a label': { label: 'untrusted' },
    'ten days': { since: middle - 240 * HOUR_MS, until: middle },
    'an approver, ten days': { approver: 'boss-30', since: middle - 240 * HOUR_MS, until: middle },
    'a tool, denied': { tool: 'ledger.pay', decision: 'deny' },
    'a tool and a person': { tool: 'ledger.pay', by: 'user-7' },
    'a label and an agent': { label: 'untrusted', name: 'agent-4' },
    'an amount that few have': { tool: 'ledger.pay', min: 9990 },
    'what nobody has': { status: 'cancelled' },
  }
}

/** Where a search is begun from that was half through. */
export const DEEP = 'everything, half through'

/** An index with so many runs; pages of each search, by cursor, and a bare Query beside. */
export async function auditSearch(options: { dynamo: string; runs: number; pages: number }): Promise<Subject> {
  const { dynamo, runs, pages } = options
  const memory = await openMemory({ table: 'bench', endpoint: dynamo })
  const index = memory.auditIndex
  const deep = (await index.search('bench', { until: middleOf(runs) }, { limit: LIMIT })).cursor
  const all = [
    ...Object.entries(searches(runs)).map(([name, filter]) => ({ name, filter, start: undefined })),
    { name: DEEP, filter: {}, start: deep },
  ]
  return {
    async run() {
      const started = performance.now()
      const figures: Record<string, number> = {}
      const take = (name: string, times: number[]) => {
        figures[`${name} p50`] = percentile(times, 0.5)
        figures[`${name} p95`] = percentile(times, 0.95)
      }
      const bare: number[] = []
      for (const { name, filter, start } of all) {
        const times: number[] = []
        let cursor: string | undefined = start
        for (let i = 0; i < pages; i++) {
          const from = performance.now()
          const page = await index.search('bench', filter, { limit: LIMIT, cursor })
          times.push(performance.now() - from)
          cursor = page.cursor ?? start
          bare.push(await bareQuery(dynamo))
        }
        take(name, times)
      }
      take('bare', bare)
      return { units: pages * all.length, elapsedMs: performance.now() - started, figures }
    },
    async close() {
      memory.close()
    },
  }
}

/** DynamoDB alone: as many items as a page of everything reads, without the SDK; ms. */
async function bareQuery(endpoint: string): Promise<number> {
  const from = performance.now()
  const answer = await fetch(endpoint, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-amz-json-1.0',
      'x-amz-target': 'DynamoDB_20120810.Query',
      'x-amz-date': '20260101T000000Z',
      authorization:
        'AWS4-HMAC-SHA256 Credential=local/20260101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=0',
    },
    body: JSON.stringify({
      TableName: 'bench',
      KeyConditionExpression: 'pk = :pk',
      ExpressionAttributeValues: { ':pk': { S: 'T#bench#AUDIT#ALL' } },
      ScanIndexForward: false,
      ConsistentRead: true,
      Limit: LIMIT + 1,
    }),
  })
  const { Count } = (await answer.json()) as { Count?: number } // DynamoDB's own
  if (Count !== LIMIT + 1) throw new Error(`a bare Query gave ${Count} items`)
  return performance.now() - from
}
