import { BATCH_RUNS_MAX, BODY_BYTES_MAX, type Problem } from '@muster/protocol'

/** What the server says of one run of a batch. */
export type BatchAnswer = { id: string; created: boolean } | { error: Problem }

/** What a body has besides the runs themselves, and the comma that each brings. */
const AROUND_BYTES = '{"runs":[]}'.length

/** Divides runs into requests that the server takes: by their number and by the bytes of their JSON. */
export function* batches<T>(runs: readonly T[]): Generator<T[]> {
  let batch: T[] = []
  let bytes = AROUND_BYTES
  for (const run of runs) {
    const size = Buffer.byteLength(JSON.stringify(run)) + 1
    if (batch.length === BATCH_RUNS_MAX || (batch.length > 0 && bytes + size > BODY_BYTES_MAX)) {
      yield batch
      batch = []
      bytes = AROUND_BYTES
    }
    batch.push(run)
    bytes += size
  }
  if (batch.length > 0) yield batch
}
