import { createHash } from 'node:crypto'
import { type CostLine, type Json, newId, ofOne, type Run, type StoredEntry } from '@muster/protocol'
import type { Archive } from './archive.ts'

/** An ended run for tests. */
export function testRun(tenant: string, change: Partial<Run> = {}): Run {
  return {
    id: newId(),
    tenant,
    status: 'succeeded',
    kind: 'agent',
    name: 'clerk',
    version: '1.0.0',
    session: 's',
    by: { key: 'k', user: 'u' },
    createdAt: 1_700_000_000_000,
    endedAt: 1_700_000_001_000,
    input: { a: 1 },
    output: 'done',
    waiting: [],
    labels: ['pii'],
    steps: 3,
    usage: { inputTokens: 1, outputTokens: 2, cachedTokens: 0 },
    costUsd: 0.000_012_3,
    epoch: 1,
    entries: 2,
    head: 'f'.repeat(64),
    ...change,
  }
}

/** Entry `seq` of a journal; `content` as text that lies beside it. */
export function testEntry(seq: number, content?: string): StoredEntry {
  const bytes = JSON.stringify({ v: 1, seq, at: 1_700_000_000_000 + seq, type: 'run.parked', waiting: [`step-${seq}`] })
  const hash = createHash('sha256').update(bytes).digest('hex')
  return { seq, hash, bytes, ...(content === undefined ? {} : { content }) }
}

/** Archives one run. @throws what kept it from being archived */
export async function putRun(
  archive: Archive,
  run: Run,
  entries: readonly StoredEntry[],
  costs?: readonly CostLine[],
): Promise<void> {
  ofOne(await archive.putMany([{ tenant: run.tenant, run, entries, costs }]))
}

/** Text that hardly compresses. */
export function noise(length: number, seed = 1): string {
  let text = ''
  for (let i = 0; text.length < length; i++) text += createHash('sha512').update(`${seed}:${i}`).digest('base64')
  return text.slice(0, length)
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  return Array.fromAsync(items)
}

/** Messages of one text. */
export function says(text: string): Json[] {
  return [{ role: 'user', content: text }]
}
