import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { actor, chain } from './fixtures/app.ts'
import { type Harness, startHarness, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
})
afterEach(() => harness.killWorkers())
afterAll(() => harness.close())

const looking = (ms: number) => ({
  turns: [{ calls: [{ name: 'world_look', arguments: { what: 'sky', ms } }] }, { answer: '$messages' }],
})
const looks = (run: string) => harness.effects().filter(({ effect, key }) => effect === 'look' && key.startsWith(run))

interface Shown {
  role: string
  content: string
}

async function shown(run: { result(): Promise<unknown> }): Promise<Shown[]> {
  const { answer } = (await run.result()) as { answer: Shown[] }
  return answer.slice(-3)
}

it('an agent hears what a person says between two turns, once, whichever worker dies', async () => {
  const worker = await harness.worker()
  const run = await muster.runs.start(actor, looking(1500))
  await until(
    () => looks(run.id),
    ({ length }) => length === 1,
  )
  await run.say('look up', { idempotencyKey: 'once' })
  await run.say('look up', { idempotencyKey: 'once' })
  worker.kill('SIGKILL')
  await harness.worker()
  const messages = await shown(run)
  expect(messages.map(({ role }) => role)).toEqual(['assistant', 'tool', 'user'])
  expect(messages.at(-1)?.content).toBe('look up')
})

it('what is under way is cancelled when the person interrupts', async () => {
  await harness.worker()
  const run = await muster.runs.start(actor, looking(120_000))
  await until(
    () => looks(run.id),
    ({ length }) => length === 1,
  )
  await run.say('never mind', { interrupt: true })
  const messages = await shown(run)
  expect(JSON.parse(messages[1]?.content ?? '')).toEqual({
    error: { code: 'run.cancelled', message: 'interrupted' },
  })
  expect(messages[2]).toMatchObject({ role: 'user', content: 'never mind' })
})

it('is refused for a plan, and for a stranger', async () => {
  await harness.worker()
  const run = await muster.runs.start(chain, { n: 1, ms: 1000 })
  await expect(run.say('hello')).rejects.toMatchObject({ code: 'signal.unknown' })
  await expect(harness.stranger.runs.of(run.id).say('hello')).rejects.toMatchObject({ code: 'run.not_found' })
  await expect(run.say('')).rejects.toMatchObject({ code: 'request.invalid' })
})
