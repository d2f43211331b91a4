import type { Run, RunEvent } from '@muster/protocol'
import type { Muster } from '@muster/sdk'

/** A run and its events; one that goes on is read as it stood when asked for. */
export async function readRun(muster: Muster, id: string): Promise<{ run: Run; events: RunEvent[] }> {
  const run = await muster.runs.get(id)
  const events: RunEvent[] = []
  for await (const event of muster.runs.stream(id)) {
    events.push(event)
    if (event.seq >= run.entries) break
  }
  return { run, events }
}
