import { setTimeout as sleep } from 'node:timers/promises'
import { Journal } from '@muster/journal'
import type { ArchiveListOptions, Memory } from '@muster/memory'
import { type Json, newId, type Run, type RunStatus, type StoredEntry } from '@muster/protocol'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { putRun, stopMemory, stopRedis, theMemory, theRedis } from '../fixture.ts'
import { RunReader } from './run-reader.ts'

const tenant = 't'
const definition = { kind: 'plan' as const, name: 'p', version: '1', hash: '' }

let memory: Memory
let journal: Journal
beforeAll(async () => {
  memory = await theMemory({ keyCacheMs: 0 })
  const { url } = await theRedis()
  journal = await Journal.open({ url, namespace: 'reader' })
})
afterAll(async () => {
  await journal.close()
  await stopMemory()
  await stopRedis()
})

/** What is the same for most. */
interface Of {
  session?: string
  input?: Json
  entries?: StoredEntry[]
}

async function live(id: string, user: string, { session = 's', input = {} }: Of = {}): Promise<void> {
  const run = { run: id, tenant, definition, session, by: { key: 'k', user }, labels: [], limits: {} }
  await journal.create(run, { input }, { offload: async () => {} })
}

async function archived(id: string, user: string, { session = 's', entries = [] }: Of = {}): Promise<void> {
  const run: Run = {
    ...{ id, tenant, status: 'succeeded', kind: 'plan', name: 'p', version: '1', session, by: { key: 'k', user } },
    ...{ createdAt: 1, endedAt: 2, waiting: [], labels: [], steps: 0, costUsd: 0, epoch: 1, entries: 0, head: '' },
    usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 },
  }
  await putRun(memory, run, entries)
}

it('lists the runs of a user or session in pages that look at so many, and none is lost or told twice', async () => {
  // A few in a row of one store, and of one user; one that has just been archived is in both.
  const places = ['aaalll', 'laabal', 'aaaaaaaaa', 'llllllll', 'alalalal', 'aaallaa'].join('')
  const users = 'uvvvvvvvuuvvvvvvvvvvvvvvvvuvvvvvvvvuvuvvvvvvvu'
  const all: { id: string; user: string; session: string; statuses: RunStatus[] }[] = []
  for (const [i, place] of [...places].entries()) {
    const [id, user, session] = [newId(), users[i] ?? 'v', i % 3 === 0 ? 's' : 't']
    if (place !== 'a') await live(id, user, { session })
    if (place !== 'l') await archived(id, user, { session })
    const statuses: RunStatus[] = [
      ...(place === 'l' ? [] : ['succeeded' as const]),
      ...(place === 'a' ? [] : ['queued' as const]),
    ]
    all.unshift({ id, user, session, statuses })
  }
  const filters = [
    { user: 'u' },
    { session: 's' },
    { user: 'v', session: 't' },
    { user: 'v', status: 'succeeded' },
    { session: 't', status: 'queued', name: 'p' },
    { user: 'v', session: 's', name: 'another' },
    { status: 'succeeded' },
    {},
  ] as const
  for (const filter of filters) {
    const { user, session, status, name = 'p' }: Omit<ArchiveListOptions, 'limit'> = filter
    const own = all.filter(
      (run) =>
        name === 'p' &&
        (user === undefined || run.user === user) &&
        (session === undefined || run.session === session) &&
        (status === undefined || run.statuses.includes(status)),
    )
    expect(own.length > 5).toBe(name === 'p')
    for (const most of [1, 2, 3, 7, 1000])
      for (const limit of [1, 2, 5, 50]) {
        const reader = new RunReader(journal, memory, most)
        const found: string[] = []
        let before: string | undefined
        do {
          const { runs, cursor } = await reader.list(tenant, { ...filter, limit, before })
          expect(runs.length).toBeLessThanOrEqual(limit)
          // Each page gets further, and is full where no user or session is asked for.
          if (cursor !== undefined && before !== undefined) expect(cursor < before).toBe(true)
          if (cursor !== undefined && (user ?? session) === undefined) expect(runs).toHaveLength(limit)
          found.push(...runs.map(({ id }) => id))
          before = cursor
        } while (before !== undefined)
        expect(found, `${JSON.stringify(filter)}: ${limit} of ${most}`).toEqual(own.map(({ id }) => id))
      }
  }
})

it.each([{ user: 'x' }, { session: 'x' }])(
  'looks at so many runs of others in Redis for a page of a user or session, and tells of none below them: %j',
  async (filter) => {
    const pages: number[] = []
    const watched: Journal['list'] = async (...asked) => {
      const records = await journal.list(...asked)
      pages.push(records.length)
      return records
    }
    const watching = new Proxy(journal, { get: (of, name) => (name === 'list' ? watched : Reflect.get(of, name, of)) })
    const own = newId()
    await archived(own, 'x', { session: 'x' })
    for (let i = 0; i < 10; i++) await live(newId(), 'y')
    const reader = new RunReader(watching, memory, 4)
    const found: string[][] = []
    let before: string | undefined
    do {
      const { runs, cursor } = await reader.list(tenant, { ...filter, limit: 3, before })
      found.push(runs.map(({ id }) => id))
      before = cursor
    } while (before !== undefined)
    // It is below two pages of others.
    expect(found.slice(0, 3)).toEqual([[], [], [own]])
    expect(pages).toHaveLength(found.length)
    expect(pages.slice(0, -1).every((looked) => looked === 4)).toBe(true)
  },
)

it('has a run that goes from Redis into the archive meanwhile', async () => {
  const id = newId()
  const left: Journal['list'] = async () => {
    // Whoever asks the archive at the same time has its answer before.
    await sleep(100)
    await archived(id, 'w')
    return []
  }
  const moving = new Proxy(journal, { get: (of, name) => (name === 'list' ? left : Reflect.get(of, name, of)) })
  const { runs } = await new RunReader(moving, memory).list(tenant, { limit: 5 })
  expect(runs.map((run) => run.id)).toContain(id)
})

it('gives the numbers of a run as they were written, in Redis and in the archive', async () => {
  const id = newId()
  await live(id, 'n', { input: { id: JSON.rawJSON('9007199254740993') } })
  await archived(id, 'n', { entries: await Array.fromAsync(journal.read(id)) })
  const elsewhere = await Journal.open({ url: (await theRedis()).url, namespace: 'empty' })
  for (const one of [journal, elsewhere]) {
    const { input } = await new RunReader(one, memory).exactRun(tenant, id)
    expect(JSON.stringify(input)).toBe('{"id":9007199254740993}')
    const unknown = new RunReader(one, memory).exactRun('another', id)
    await expect(unknown).rejects.toMatchObject({ code: 'run.not_found' })
  }
  await elsewhere.close()
})
