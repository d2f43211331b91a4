#!/usr/bin/env node
/** Lives many random lives with the scheduler and its reference: `node simulate.ts --seed 7 --events 1000000`. */
import { parseArgs } from 'node:util'
import { seeded } from './random.ts'
import { ReferenceScheduler } from './reference/reference.ts'
import { Scheduler } from './scheduler.ts'
import { type Failure, live } from './simulation/life.ts'
import { shrink } from './simulation/shrink.ts'

const usage = `node packages/scheduler/src/simulate.ts [--seed 1] [--events 1000000] [--json]
  Lives of up to 10,000 events each, one after the other, until there were so many events.
  --life <seed>  only the one life that a failure named`

const SHRINK_MS_MAX = 60_000

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    events: { type: 'string', default: '1000000' },
    life: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const subjects = (options: { concurrency: number }) => [new Scheduler(options), new ReferenceScheduler(options)]

/** Most lives are small, where the odd cases are; some are large, where arrays grow. */
function shape(seed: number): { seed: number; events: number; livingMax: number } {
  const random = seeded(seed ^ 0x5eed)
  return { seed, events: random.pick([300, 3000, 10_000]), livingMax: random.pick([5, 20, 60, 200, 200, 1500]) }
}

function run(seed: number, events: number): void {
  const random = seeded(seed)
  const began = performance.now()
  const total = { seed, lives: 0, events: 0, starts: 0 }
  for (let told = 0; total.events < events; total.lives++) {
    const lifeSeed = values.life === undefined ? random.int(2 ** 32) : Number(values.life)
    const result = live(shape(lifeSeed), subjects)
    if ('message' in result) {
      fail(lifeSeed, result)
      return
    }
    total.events += result.events
    total.starts += result.starts
    if (values.life !== undefined) break
    if (total.events - told < events / 10) continue
    told = total.events
    process.stderr.write(`seed ${seed}: ${total.events} events in ${total.lives + 1} lives\n`)
  }
  const seconds = Math.round((performance.now() - began) / 100) / 10
  console.log(
    values.json
      ? JSON.stringify({ ...total, seconds })
      : `seed ${seed}: ${total.events} events in ${total.lives} lives, ${total.starts} starts, ${seconds} s: all well`,
  )
}

function fail(lifeSeed: number, failure: Failure): void {
  process.exitCode = 1
  console.log(`--life ${lifeSeed}: ${failure.message}\n  at event ${failure.life.events.length}; looking for the least`)
  const until = performance.now() + SHRINK_MS_MAX
  const { life, message } = shrink(failure, subjects, () => performance.now() > until)
  console.log(`${message}\n  with concurrency ${life.concurrency} and these ${life.events.length} events:`)
  for (const event of life.events) console.log(`  ${JSON.stringify(event)},`)
}

if (values.help) console.log(usage)
else run(Number(values.seed), Number(values.events))
