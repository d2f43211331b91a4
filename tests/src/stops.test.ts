import type { Run } from '@muster/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { actor, chain, slowPayment } from './fixtures/app.ts'
import { ended, type Harness, type Ran, runCli, startHarness, stopProcess, until } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
})
afterEach(async () => {
  for (const { name } of await muster.stops.list()) await muster.stops.lift(name)
  await harness.killWorkers()
})
afterAll(() => harness.close())

type Handle = { id: string; get(): Promise<Run>; result(): Promise<unknown> }

/** When the effects of a run were allowed to begin. */
async function intents(run: Handle): Promise<number[]> {
  const at = []
  for await (const { entry } of muster.runs.of(run.id).events()) if (entry.type === 'step.intent') at.push(entry.at)
  return at
}

const isHeld = ({ status, stopped }: Run) => status === 'waiting' && stopped !== undefined

async function chains(count: number): Promise<Handle[]> {
  const runs = await Promise.all(Array.from({ length: count }, () => muster.runs.start(chain, { n: 60, ms: 40 })))
  await until(
    () => harness.effects().length,
    (effects) => effects > 10,
  )
  return runs
}

describe('a stop', () => {
  it('of a tool holds in all workers, and loses nothing when it is lifted', async () => {
    // Half of the runs each: once all are held, both workers know of the stop.
    const half = { MUSTER_CONCURRENCY: '3' }
    await Promise.all([harness.worker(half), harness.worker(half)])
    const runs = await chains(6)
    await muster.stops.set('tool:world.write', { reason: 'it writes nonsense' })
    for (const run of runs) {
      const { stopped } = await until(run.get, isHeld)
      expect(stopped).toMatchObject([{ name: 'tool:world.write', by: 'acme-user', reason: 'it writes nonsense' }])
    }
    const held = Date.now()
    // Whoever comes now waits as well, and what does not call it goes on.
    const late = await muster.runs.start(chain, { n: 1, ms: 0 })
    await until(late.get, isHeld)
    const other = await muster.runs.start(actor, {
      turns: [{ calls: [{ name: 'math_add', arguments: { a: 1, b: 2 } }] }, { answer: 1 }],
    })
    expect(await other.result()).toEqual({ answer: 1 })
    const lifted = Date.now()
    await muster.stops.lift('tool:world.write')
    for (const run of [...runs, late]) await run.result()
    const { out } = await command('trace', late.id)
    expect(out).toMatch(/■ tool:world.write was stopped by acme-user for .*: it writes nonsense/)
    for (const run of runs) {
      const times = await intents(run)
      // A chain takes each step once; what was cut off began anew under the same key.
      expect(times.filter((time) => time > held && time < lifted)).toEqual([])
      expect((await run.get()).stopped).toBeUndefined()
      const keys = harness.effects().filter(({ key }) => key.startsWith(run.id))
      expect(new Set(keys.map(({ key }) => key)).size).toBe(60)
    }
  })

  it('outlasts the workers: another that takes the runs up holds them too', async () => {
    const first = await harness.worker()
    const runs = await chains(2)
    // Without a body, as without a reason.
    await muster.request('PUT', '/v1/stops/plan:chain')
    for (const run of runs) await until(run.get, isHeld)
    await stopProcess(first, 'SIGKILL')
    await harness.worker()
    await expect(muster.runs.start(chain, { n: 1, ms: 0 })).rejects.toMatchObject({ code: 'stop.active' })
    await muster.stops.lift('plan:chain')
    for (const run of runs) await run.result()
  })

  it('of a tenant is for all that it has, and for nobody else', async () => {
    await harness.worker()
    const runs = await chains(2)
    await muster.stops.set('tenant', { reason: 'audit' })
    for (const run of runs) await until(run.get, isHeld)
    await expect(muster.runs.start(actor, { turns: [] })).rejects.toMatchObject({
      code: 'stop.active',
      message: expect.stringContaining('"tenant" was stopped by acme-user: audit'),
    })
    const other = await harness.stranger.runs.start(actor, { turns: [{ answer: 2 }] })
    expect(await other.result()).toEqual({ answer: 2 })
    await muster.stops.lift('tenant')
    for (const run of runs) await run.result()
  })

  it('lets an effect end that must not happen twice, and holds what comes after', async () => {
    await harness.worker()
    const run = await muster.runs.start(slowPayment, { ms: 1500, reconcilable: false })
    await until(
      () => harness.effects().filter(({ key }) => key.startsWith(run.id)),
      (effects) => effects.length > 0,
    )
    await muster.stops.set('tool:world.launch')
    expect(await run.result()).toEqual({ launched: true })
    expect(harness.effects().filter(({ key }) => key.startsWith(run.id))).toHaveLength(1)
  })

  it('holds a run that can be cancelled all the same', async () => {
    await harness.worker()
    const [run] = (await chains(1)) as [Handle]
    await muster.stops.set('tool:world.write')
    await until(run.get, isHeld)
    await muster.runs.cancel(run.id)
    expect(await until(run.get, ended)).toMatchObject({ status: 'cancelled' })
  })

  it('is set by operators only, shown, and lifted once', async () => {
    await expect(harness.people.ann.stops.set('tenant')).rejects.toMatchObject({ code: 'auth.forbidden' })
    await expect(muster.stops.set('everything')).rejects.toMatchObject({ code: 'request.invalid' })
    await expect(muster.stops.lift('tool:nothing')).rejects.toMatchObject({ code: 'stop.not_found' })
    expect(await command('stop', 'tool:world.pay', '--reason', 'wrong bank')).toMatchObject({ code: 0, err: '' })
    expect(await command('stop', 'tool:world.pya')).toMatchObject({
      code: 0,
      err: expect.stringContaining('no worker carries tool:world.pya'),
    })
    expect(await command('lift', 'tool:world.pya')).toMatchObject({ code: 0 })
    const workers = await command('workers')
    expect(workers.out).toContain('carries')
    expect(workers.out).not.toContain('\u001b')
    expect(await command('stops')).toMatchObject({ out: expect.stringMatching(/tool:world.pay since .* wrong bank/) })
    expect(await harness.stranger.stops.list()).toEqual([])
    expect(await command('lift', 'tool:world.pay')).toMatchObject({ code: 0 })
    expect(await command('lift', 'tool:world.pay')).toMatchObject({
      code: 1,
      err: expect.stringContaining('stop.not_found'),
    })
    expect(JSON.parse((await command('stops', '--json')).out)).toEqual({ stops: [] })
  })
})

function command(...args: string[]): Promise<Ran> {
  return runCli(args, { MUSTER_URL: harness.url, MUSTER_KEY: harness.key })
}
