import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'

const recordSchema = z.object({
  port: z.number().int().min(1).max(65_535),
  /** For people; a server is found again by its port and known by its data folder. */
  pid: z.number().int().positive().optional(),
  /** Name of the Docker container, if it runs in one. */
  container: z.string().optional(),
})

/** What `redis.json` in the data folder says of the server that was started on it last. */
export type RedisRecord = z.infer<typeof recordSchema>

export async function readRecord(dir: string): Promise<RedisRecord | undefined> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(recordFile(dir), 'utf8')))
  } catch {
    // None yet, or cut short by a crash: then there is no server to be found.
    return undefined
  }
}

/** Replaces the record at once: a reader, or a crash, never sees half of it and so never misses a server that runs. */
export async function writeRecord(dir: string, record: RedisRecord): Promise<void> {
  const draft = `${recordFile(dir)}.new`
  await writeFile(draft, `${JSON.stringify(record)}\n`)
  await rename(draft, recordFile(dir))
}

function recordFile(dir: string): string {
  return join(dir, 'redis.json')
}
