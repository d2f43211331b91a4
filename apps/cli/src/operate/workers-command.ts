import type { OutboxLag, WorkerSummary } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { dateOf, duration, plain, print, tableOf } from '../output.ts'

/** `muster workers`: which live; and to an operator, whether the background keeps up. */
export async function workersCommand(muster: Muster, json: boolean): Promise<number> {
  const answer = await muster.request<{ workers: WorkerSummary[]; outboxes?: OutboxLag[] }>('GET', '/v1/workers')
  const { workers, outboxes } = answer
  if (json) {
    print(answer)
    return 0
  }
  console.log(workers.length === 0 ? 'no worker is running' : workersTable(workers))
  if (outboxes) console.log(outboxesTable(outboxes))
  return 0
}

function workersTable(workers: readonly WorkerSummary[]): string {
  const table = tableOf(['worker', 'since', 'runs', 'lost', 'carries'])
  for (const { name, startedAt, held, fenced, concurrency, definitions } of workers)
    table.push([plain(name), dateOf(startedAt), `${held}/${concurrency}`, fenced, definitions.map(plain).join('\n')])
  return table.toString()
}

function outboxesTable(outboxes: readonly OutboxLag[]): string {
  const table = tableOf(['background', 'waiting', 'oldest'])
  for (const { outbox, waiting, ageMs } of outboxes) table.push([outbox, waiting, ageMs === 0 ? '' : duration(ageMs)])
  return table.toString()
}
