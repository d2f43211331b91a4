/** What is measured, as its process sees it: it does one kind of work for as long as it is asked to. */

/** One sample's work. */
export interface Task {
  /** No new work is begun after this many milliseconds; what is under way is finished and counted. */
  ms: number
  /** Runs begun per second, evenly, whatever the subject can do. Without it the loop is closed: an end begins the next. */
  runsPerS?: number
  /** The same is done for so long before, and not measured: a process that has stood still is slower at first. None unless given; ms. */
  leadMs?: number
}

/** What was done of it. */
export interface Work {
  /** Steps, runs or decisions that ended. */
  units: number
  /** From the first begun to the last ended. */
  elapsedMs: number
  /** What else the subject measured, such as `p50Ms` or `bytesPerRun`. */
  figures?: Record<string, number>
}

/** Takes the CPU times. A subject whose sample is not all that it does in `run` calls both where it is. */
export interface Meter {
  begin(): void
  end(): void
}

export interface Subject {
  run(task: Task, meter: Meter): Promise<Work>
  /** Checks what the last sample has left, when it is no longer measured; throws when it is not what was counted. */
  check?(): Promise<void>
  close(): Promise<void>
}

/** Work with what it cost. */
export interface Sample extends Work {
  /** CPU time of the subject's process, user and system. */
  workerCpuMs: number
  /** CPU time of Redis, user and system; 0 where the subject uses none. */
  redisCpuMs: number
  /** Memory of the subject's process at its end. */
  rssMiB: number
}

/** What every subject is told. */
export interface Place {
  redisUrl: string
  /** DynamoDB endpoint of the memory that a worker holds. */
  dynamo: string
}

/** The value below which `share` (0 to 1) of the values lie; NaN where there are none. Sorts in place. */
export function percentile(values: number[], share: number): number {
  values.sort((a, b) => a - b)
  return values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN
}

/** JSON of this many bytes, with `n` in it: what a step gives. */
export function resultOf(n: number, bytes = 200): { n: number; text: string } {
  const frame = JSON.stringify({ n, text: '' }).length
  return { n, text: 'x'.repeat(bytes - frame) }
}
