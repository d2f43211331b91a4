import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newId } from '@muster/protocol'
import { startRedis } from '@muster/stack'
import { afterAll, beforeAll } from 'vitest'
import { Journal } from './journal.ts'
import { type Closing, RunWriter, Writer, type WriterOptions } from './writer.ts'

/**
 * Journals of one namespace in three partitions for the tests of a file, each over a connection of its own, as several
 * processes have them. They are there once these run.
 */
export function journalsOf(namespace: string, count: number): Journal[] {
  const dir = mkdtempSync(join(tmpdir(), `muster-${namespace}-`))
  const journals: Journal[] = []
  let redis: Awaited<ReturnType<typeof startRedis>>
  beforeAll(async () => {
    redis = await startRedis({ dir })
    const { url } = redis
    const opening = Array.from({ length: count }, () => Journal.open({ url, namespace, partitions: 3 }))
    journals.push(...(await Promise.all(opening)))
  })
  afterAll(async () => {
    await Promise.all(journals.map((journal) => journal.close()))
    await redis.stop()
    rmSync(dir, { recursive: true, force: true })
  })
  return journals
}

/** Throws what goes wrong. */
export function writerOf({ partitions }: Journal, options: Pick<WriterOptions, 'clock' | 'ledger'>): Writer {
  return new Writer({
    ...{ partitions, offload: async () => {}, onWake: () => {}, onParentMail: () => {}, onDrain: () => {} },
    onError: (error) => {
      throw error
    },
    ...options,
  })
}

/** A new run, as who holds it has it. */
export async function holdRun(journal: Journal, tenant: string, run = newId()): Promise<RunWriter> {
  const definition = { kind: 'plan' as const, name: 'p', version: '1', hash: '' }
  const created = { run, tenant, definition, by: { key: 'k', user: 'u' }, labels: [], limits: {} }
  await journal.create(created, {}, { offload: async () => {} })
  const held = await journal.activate(run)
  if (!held) throw new Error('nothing to do')
  return new RunWriter({ run, tenant, ...held }, { mail: () => {}, lost: () => {} })
}

/** Writes an entry, and how the run is left; it is durable then. */
export async function write(
  writer: Writer,
  pen: RunWriter,
  op?: Closing['op'],
  more: Partial<Closing> = {},
): Promise<void> {
  const seq = writer.append(pen, '"type":"message.ignored","at":1,"about":"child"')
  if (op) writer.close(pen, { op, status: op === 'end' ? 'succeeded' : 'waiting', summary: {}, ...more })
  await new Promise<void>((resolve) => pen.whenDurable(seq, resolve))
}
