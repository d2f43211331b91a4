import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startRedis } from '@muster/stack'
import { afterAll, beforeAll } from 'vitest'
import { Journal } from './journal.ts'

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
