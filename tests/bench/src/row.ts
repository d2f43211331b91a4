import type { Sample } from './subject.ts'

/** One line of the result: a figure beside what it is compared with in the same run. */
export interface Row {
  workload: string
  variant: string
  unit: string
  /** Median over the samples. */
  value: number
  /** (largest - smallest) / median of the samples. */
  spread: number
  reference: string | null
  /** Median of the reference's samples. */
  referenceValue: number | null
  /** value / referenceValue. */
  ratio: number | null
  /** CPU time per unit of the subject's process and of Redis, µs; memory of the process at its highest. */
  cost: { workerUs: number; redisUs: number; rssMiB: number } | null
}

/** Samples of one contender, and how its figure is made of one. */
export interface Measured {
  name: string
  samples: readonly Sample[]
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  const upper = sorted[Math.floor(middle)] ?? Number.NaN
  return Number.isInteger(middle) ? ((sorted[middle - 1] ?? Number.NaN) + upper) / 2 : upper
}

/** Units per second. */
export const rate = ({ units, elapsedMs }: Sample): number => (units / elapsedMs) * 1000

/** A figure that the subject measured itself. */
export const figure =
  (name: string) =>
  (sample: Sample): number => {
    const value = sample.figures?.[name]
    if (value === undefined) throw new Error(`a sample has no figure "${name}"`)
    return value
  }

/** One row for each reference, or a single one where there is none. `of` makes the figure of a sample. */
export function rowsOf(
  what: { workload: string; unit: string; of?: (sample: Sample) => number; variant?: string },
  subject: Measured,
  references: readonly Measured[],
): Row[] {
  const { workload, unit, of = rate, variant = subject.name } = what
  const values = subject.samples.map(of)
  const value = median(values)
  const row: Row = {
    workload,
    variant,
    unit,
    value,
    spread: value === 0 ? 0 : (Math.max(...values) - Math.min(...values)) / value,
    reference: null,
    referenceValue: null,
    ratio: null,
    cost: {
      workerUs: median(subject.samples.map((sample) => (sample.workerCpuMs / sample.units) * 1000)),
      redisUs: median(subject.samples.map((sample) => (sample.redisCpuMs / sample.units) * 1000)),
      rssMiB: Math.max(...subject.samples.map((sample) => sample.rssMiB)),
    },
  }
  if (references.length === 0) return [row]
  return references.map((reference) => {
    const referenceValue = median(reference.samples.map(of))
    return { ...row, reference: reference.name, referenceValue, ratio: value / referenceValue }
  })
}
