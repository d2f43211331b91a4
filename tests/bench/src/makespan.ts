import { Scheduler } from '@muster/scheduler'
import { randomOf } from './random.ts'
import { median, type Row } from './row.ts'
import { BareScheduler } from './subjects/bare-scheduler.ts'
import { KINDS, kindsOf, lowerBoundMs, shapes, type Workflow, workflow } from './workflows.ts'

/**
 * `learned`: ranks by durations that other workflows of the same kinds have taught. `hops`: the scheduler without
 * kinds, so that a rank counts steps. `fifo`: first come first served.
 */
const ORDERS = ['learned', 'hops', 'fifo'] as const
type Order = (typeof ORDERS)[number]

/** Who says what starts next, as the simulation of time sees it. Steps are numbers from 0. */
interface Dispatcher {
  poll(now: number): readonly number[]
  settle(step: number, ms: number): void
}

/** How long workflows take beside the least time that they could, in virtual time: 1 is the best. */
export function makespan(seeds: number): Row[] {
  const rows: Row[] = []
  for (const [name, shape] of Object.entries(shapes)) {
    for (const places of [4, 16, 64]) {
      const ratios: Record<Order, number[]> = { learned: [], hops: [], fifo: [] }
      for (let seed = 1; seed <= seeds; seed++) {
        const random = randomOf(seed)
        const means = kindsOf(random, KINDS)
        const [before, measured] = [workflow(shape, random, means), workflow(shape, random, means)]
        const bound = lowerBoundMs(measured, places)
        for (const order of ORDERS) ratios[order].push(makespanMs(measured, places, order, before) / bound)
      }
      rows.push(...rowsOf(`${name}, ${places} places`, ratios))
    }
  }
  return rows
}

function rowsOf(variant: string, { learned, hops, fifo }: Record<Order, number[]>): Row[] {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const value = mean(learned)
  const spread = (Math.max(...learned) - Math.min(...learned)) / median(learned)
  return (
    [
      ['ranks by hops', hops],
      ['first come first served', fifo],
    ] as const
  ).map(([reference, values]) => ({
    workload: 'makespan',
    variant,
    unit: '× lower bound',
    value,
    spread,
    reference,
    referenceValue: mean(values),
    ratio: value / mean(values),
    cost: null,
  }))
}

/** @param before the workflow that kinds learn their durations from */
export function makespanMs(workflow: Workflow, places: number, order: Order, before: Workflow): number {
  if (order === 'fifo') return elapse(workflow, places, firstCome(workflow, places))
  const scheduler = new Scheduler({ concurrency: places })
  const kinds = Array.from({ length: workflow.kinds }, () => (order === 'hops' ? 0 : scheduler.kind()))
  if (order === 'learned') elapse(before, places, ranked(scheduler, kinds, before))
  return elapse(workflow, places, ranked(scheduler, kinds, workflow))
}

/** Lets the steps take their times. */
function elapse({ steps }: Workflow, places: number, dispatcher: Dispatcher): number {
  const running: { step: number; end: number }[] = []
  let now = 0
  for (;;) {
    for (const step of dispatcher.poll(now)) running.push({ step, end: now + steps[step].ms })
    if (running.length > places) throw new Error(`${running.length} steps run in ${places} places`)
    if (running.length === 0) return now
    // There are few places, so the next end is found by looking at all.
    let next = 0
    for (let i = 1; i < running.length; i++) if (running[i].end < running[next].end) next = i
    const [{ step, end }] = running.splice(next, 1)
    now = end
    dispatcher.settle(step, steps[step].ms)
  }
}

function ranked(scheduler: Scheduler, kinds: readonly number[], { steps }: Workflow): Dispatcher {
  const run = scheduler.openRun('tenant')
  const handles: number[] = []
  const stepOf = new Map<number, number>()
  for (const { after, kind } of steps) {
    const handle = scheduler.addStep(
      run,
      after.map((on) => handles[on]),
      kinds[kind],
    )
    stepOf.set(handle, handles.push(handle) - 1)
  }
  return {
    poll(now) {
      const out: number[] = []
      scheduler.poll(now, out)
      return out.map((handle) => stepOf.get(handle) ?? -1)
    },
    settle(step, ms) {
      scheduler.settle(handles[step])
      const kind = kinds[steps[step].kind]
      if (kind !== 0) scheduler.learn(kind, ms)
    },
  }
}

function firstCome({ steps }: Workflow, places: number): Dispatcher {
  const scheduler = new BareScheduler({ concurrency: places })
  for (const { after } of steps) scheduler.addStep(after)
  return {
    poll() {
      const out: number[] = []
      scheduler.poll(out)
      return out
    },
    settle: (step) => scheduler.settle(step),
  }
}
