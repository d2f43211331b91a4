import { type AttributeValue, ScanCommand } from '@aws-sdk/client-dynamodb'
import { unmarshall } from '@aws-sdk/util-dynamodb'
import { newId, runSummary, type StoredEntry } from '@muster/protocol'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from './connection.ts'
import type { MasterKey } from './content-keys.ts'
import { openErasures } from './erasures.ts'
import { partition, sort } from './key.ts'
import { type Memory, openMemory } from './memory.ts'
import { pack } from './packed.ts'
import { piecesOf } from './pieces.ts'
import { seal, unseal } from './sealed.ts'
import { Table } from './table.ts'
import { collect, noise, putRun, says, testEntry, testRun } from './test-run.ts'
import { startDynalite, type TestServer } from './test-server.ts'

const masterOf = (key: Uint8Array): MasterKey => ({
  wrap: async (tenant, bytes) => seal(key, [tenant], bytes),
  unwrap: async (tenant, wrapped) => unseal(key, [tenant], wrapped),
})
const why = { at: 7, by: 'erasure', id: 'e', user: 'u' } as const

let server: TestServer
let memory: Memory
let opened: Memory[]
const options = () => ({ endpoint: server.endpoint, table: 'keys', keyCacheMs: 0 })

beforeAll(async () => {
  server = await startDynalite()
  memory = await openMemory(options())
  opened = [memory]
})
afterAll(async () => {
  for (const each of opened) each.close()
  await server.stop()
})

/** Opens the same table anew. */
async function anew(extra: { master?: MasterKey; keyCacheMs?: number } = {}): Promise<Memory> {
  const other = await openMemory({ ...options(), ...extra })
  opened.push(other)
  return other
}

/** Every item of the table as it lies there, as one text of bytes. */
async function raw(): Promise<Buffer> {
  const { client } = connect(options())
  const parts: Buffer[] = []
  for (let from: Record<string, AttributeValue> | undefined; ; ) {
    const page = await client.send(new ScanCommand({ TableName: 'keys', ExclusiveStartKey: from }))
    for (const item of (page.Items ?? []).map((item) => unmarshall(item))) {
      parts.push(Buffer.from(JSON.stringify(item)))
      for (const value of Object.values(item)) if (value instanceof Uint8Array) parts.push(Buffer.from(value))
    }
    from = page.LastEvaluatedKey
    if (from === undefined) break
  }
  client.destroy()
  return Buffer.concat(parts)
}

/** All that a run leaves, with a text in each place that only content has. */
async function leave(tenant: string, subject: string | undefined, secret: string) {
  const run = testRun(tenant, {
    input: `${secret} in`,
    output: { text: `${secret} out` },
    ...(subject === undefined ? {} : { subject }),
  })
  const owner = { tenant, run: run.id, subject }
  const entries = [testEntry(1, `${secret} one`), testEntry(2), testEntry(3, `${secret} three`)]
  await memory.blobs.put(owner, 'small', `${secret} small`)
  await memory.blobs.put(owner, 'large', `${secret} ${noise(1_000_000)}`)
  await memory.sessions.append(tenant, run.id, 0, { run: run.id, at: 1, messages: says(secret), labels: [] }, subject)
  await memory.pasts.append(tenant, run.id, 0, 'a', { run: run.id, events: [secret] }, subject)
  const fact = { kind: 'k', subject: 's', value: secret, run: run.id, step: 's', labels: [] }
  await memory.facts.put(tenant, fact, subject)
  await putRun(memory.archive, run, entries)
  const read = async (from = memory) => ({
    run: await from.archive.get(tenant, run.id),
    entries: await collect(from.archive.entries(tenant, run.id)),
    small: await from.blobs.get(owner, 'small'),
    large: (await from.blobs.get(owner, 'large'))?.length,
    session: await from.sessions.read(tenant, run.id),
    past: await from.pasts.read(tenant, run.id),
    fact: await from.facts.find(tenant, 'k', 's'),
  })
  return { run, entries, read }
}

const bare = ({ content: _content, ...entry }: StoredEntry) => entry

describe('content', () => {
  it('lies sealed: what was put comes back, and no item of the table has it as text or compressed', async () => {
    const tenant = newId()
    const secret = noise(60, 9)
    const { run, entries, read } = await leave(tenant, 'customer', secret)
    const all = await read()
    expect(all).toMatchObject({ run, entries, small: `${secret} small`, fact: { value: secret } })
    expect(all.session.turns[0]?.messages).toEqual(says(secret))
    const items = await raw()
    expect(items.includes(secret)).toBe(false)
    // The check finds what is there.
    expect(items.includes(run.id)).toBe(true)
    for (const text of [says(secret), [secret], `${secret} small`]) {
      const packed = Buffer.from(await pack(text))
      expect(items.includes(packed.subarray(8, 60))).toBe(false)
    }
  })

  it('is gone with the key of its subject, and the run is there without it; other subjects keep theirs', async () => {
    const tenant = newId()
    const gone = await leave(tenant, 'a', noise(40, 1))
    const kept = await leave(tenant, 'b', noise(40, 2))
    const general = await leave(tenant, undefined, noise(40, 3))
    expect(await memory.keys.destroy(tenant, { subject: 'a' })).toHaveLength(1)
    const { input: _input, output: _output, ...rest } = gone.run
    expect(await gone.read()).toMatchObject({
      ...{ run: rest, entries: gone.entries.map(bare), small: undefined, large: undefined },
      session: { version: 1, turns: [{ messages: [] }] },
      past: { version: 1, deeds: [{ events: [] }] },
    })
    expect((await gone.read()).run).not.toHaveProperty('input')
    expect((await gone.read()).entries).toEqual(gone.entries.map(bare))
    for (const one of [kept, general]) expect(await one.read()).toMatchObject({ run: one.run, entries: one.entries })
    // What comes later has a key of its own.
    const later = await leave(tenant, 'a', noise(40, 4))
    expect(await later.read()).toMatchObject({ run: later.run, entries: later.entries })
    expect((await gone.read()).small).toBeUndefined()
  })

  it('of a tenant is gone with its keys; another tenant keeps its own', async () => {
    const [tenant, other] = [newId(), newId()]
    const gone = [await leave(tenant, 'a', noise(40, 1)), await leave(tenant, undefined, noise(40, 2))]
    const kept = await leave(other, 'a', noise(40, 3))
    expect(await memory.keys.destroy(tenant, { tenant: true })).toHaveLength(3)
    for (const one of gone) expect((await one.read()).entries).toEqual(one.entries.map(bare))
    expect(await kept.read()).toMatchObject({ run: kept.run, entries: kept.entries })
  })

  it('of one run is taken out of the table, and its entries stay', async () => {
    const tenant = newId()
    const secret = noise(60, 5)
    const { run, entries, read } = await leave(tenant, undefined, secret)
    for (const times of [1, 2]) {
      const counts = await memory.archive.eraseContent(tenant, run.id, why)
      expect(counts).toEqual({ entries: 3, blobs: times === 1 ? 2 : 0 })
      expect(await memory.facts.erase(tenant, run.id)).toBe(1)
      expect(await memory.sessions.erase(tenant, run.id, run.id)).toBe(1)
      await memory.pasts.erase(tenant, run.id, run.id)
    }
    const left = await read()
    expect(left).toMatchObject({ run: { erased: why }, small: undefined, fact: undefined })
    expect(left.entries).toEqual(entries.map(bare))
    expect(left.session.turns[0]?.messages).toEqual([])
    expect(await memory.archive.erased(tenant, run.id)).toEqual(why)
    // Nothing that comes late is sealed anew.
    await expect(memory.blobs.put({ tenant, run: run.id }, 'late', 'x')).rejects.toMatchObject({
      code: 'content.erased',
    })
  })

  it('of before there were keys is read as ever, and can be taken out too', async () => {
    const tenant = newId()
    const secret = noise(60, 6)
    const run = testRun(tenant, { input: secret, output: secret })
    const large = { ...testEntry(2, `${secret} ${noise(20_000)}`), bytes: '{"seq":2,"content":"digest"}' }
    const entries = [testEntry(1, secret), large]
    const { client } = connect(options())
    const table = new Table(client, 'keys', 'test')
    const pk = partition(tenant, 'RUN', run.id)
    await table.putAll([
      ...piecesOf(pk, ['WHOLE', 'set'], await pack(run)),
      ...piecesOf(pk, ['SEGMENT', 'set', 2], await pack(entries)),
      { pk: partition(tenant, 'BLOB', 'digest'), sk: 'MANIFEST', content: await pack(secret) },
      {
        ...{ pk: partition(tenant, 'RUNS'), sk: sort('RUN', run.id), status: run.status, name: run.name },
        ...{ summary: runSummary.parse(run), set: 'set', last: 2 },
      },
    ])
    const read = async () => [
      await memory.archive.get(tenant, run.id),
      await collect(memory.archive.entries(tenant, run.id)),
      await memory.archive.beganBy(tenant, run.id),
      (await memory.archive.list(tenant, { limit: 9 })).map(({ id }) => id),
    ]
    const begun = [run.by, [run.id]]
    expect(await read()).toEqual([run, entries, ...begun])
    expect(await memory.blobs.get({ tenant, run: run.id }, 'digest')).toBe(secret)
    expect(await memory.archive.eraseContent(tenant, run.id, why)).toEqual({ entries: 2, blobs: 1 })
    const { input: _input, output: _output, ...rest } = run
    for (let times = 0; times < 2; times++) {
      expect(await read()).toEqual([{ ...rest, erased: why }, entries.map(bare), ...begun])
      await memory.archive.eraseContent(tenant, run.id, why)
    }
    expect(await memory.blobs.get({ tenant, run: run.id }, 'digest')).toBeUndefined()
    client.destroy()
  })

  it('comes back whatever it is', () =>
    fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary' }),
        fc.string({ minLength: 1 }),
        fc.jsonValue(),
        async (text, subject, json) => {
          const tenant = newId()
          const run = testRun(tenant, { subject, input: { json: JSON.stringify(json) }, output: text })
          await putRun(memory.archive, run, [testEntry(1, text)])
          expect(await memory.archive.get(tenant, run.id)).toEqual(run)
          expect(await collect(memory.archive.entries(tenant, run.id))).toEqual([testEntry(1, text)])
          expect(await collect(memory.archive.ofSubject(tenant, subject))).toEqual([run.id])
        },
      ),
      { numRuns: 30 },
    ))

  it('does not open where it was not put, or when a byte was changed', () => {
    const key = Buffer.alloc(32, 1)
    const sealed = seal(key, ['t', 'a'], Buffer.from('text'))
    expect(Buffer.from(unseal(key, ['t', 'a'], sealed)).toString()).toBe('text')
    const changed = Uint8Array.from(sealed, (byte, i) => (i === 14 ? byte ^ 1 : byte))
    for (const refused of [
      () => unseal(key, ['t', 'b'], sealed),
      () => unseal(Buffer.alloc(32, 2), ['t', 'a'], sealed),
      () => unseal(key, ['t', 'a'], changed),
    ])
      expect(refused).toThrow(expect.objectContaining({ code: 'content.corrupt' }))
  })
})

describe('keys', () => {
  it('are made once, however many ask at once', async () => {
    const tenant = newId()
    const all = await Promise.all(
      Array.from({ length: 6 }, async () =>
        (await anew()).keys.current(tenant, 'a').then(({ name, key }) => [name, Buffer.from(key).toString('hex')]),
      ),
    )
    expect(new Set(all.map(String)).size).toBe(1)
    const run = newId()
    const own = await Promise.all(opened.map(({ keys }) => keys.ofRun({ tenant, run })))
    expect(new Set(own.map((key) => Buffer.from(key ?? []).toString('hex'))).size).toBe(1)
  })

  it('that a process has read are gone there too after a while', async () => {
    const tenant = newId()
    const other = await anew({ keyCacheMs: 200 })
    const before = await other.keys.current(tenant, 'a')
    await memory.keys.destroy(tenant, { subject: 'a' })
    expect(await other.keys.current(tenant, 'a')).toEqual(before)
    await expect.poll(async () => (await other.keys.current(tenant, 'a')).name).not.toBe(before.name)
    await expect.poll(() => other.keys.find(tenant, before.name)).toBeUndefined()
  })

  it('of a run are destroyed alone: those of its tenant are not unwrapped again for the next', async () => {
    const tenant = newId()
    const bytes = new Uint8Array(32).fill(7)
    let unwrapped = 0
    const master: MasterKey = {
      ...masterOf(bytes),
      unwrap: (...of) => {
        unwrapped++
        return masterOf(bytes).unwrap(...of)
      },
    }
    const [one, other] = [testRun(tenant), testRun(tenant)]
    const first = await anew({ master })
    for (const run of [one, other]) await putRun(first.archive, run, [])
    const second = await anew({ master, keyCacheMs: 60_000 })
    expect(await second.archive.get(tenant, one.id)).toEqual(one)
    await second.keys.destroy(tenant, { run: one.id })
    unwrapped = 0
    expect(await second.keys.findRun(tenant, one.id)).toBeUndefined()
    expect(await second.archive.get(tenant, other.id)).toEqual(other)
    expect(unwrapped).toBe(0)
  })

  it('of tenants are wrapped by the master key, also those that lay open before, and nobody reads them without it', async () => {
    const tenant = newId()
    const { key } = await memory.keys.current(tenant)
    const master = masterOf(Buffer.alloc(32, 7))
    const wrapping = await anew({ master })
    expect((await wrapping.keys.current(tenant)).key).toEqual(key)
    expect((await (await anew({ master })).keys.current(tenant)).key).toEqual(key)
    await expect(memory.keys.current(tenant)).rejects.toMatchObject({ code: 'content.key_invalid' })
    const wrong = await anew({ master: masterOf(Buffer.alloc(32, 8)) })
    await expect(wrong.keys.current(tenant)).rejects.toMatchObject({ code: 'content.corrupt' })
  })

  it('are told of in records, which have none', async () => {
    const tenant = newId()
    await memory.keys.current(tenant, 'a')
    const { records } = await memory.records.list(tenant, {}, { limit: 10 })
    expect(records.map(({ seq, action, about }) => [seq, action, about])).toEqual([
      [2, 'key.created', { key: 'TENANT#0000000001' }],
      [1, 'key.created', { key: 'SUBJECT#a#0000000001' }],
    ])
  })
})

describe('an erasure', () => {
  it('whose worker dies as it writes that it is done is open still, for those who ask and for who carries it on', async () => {
    const tenant = newId()
    const { client } = connect(options())
    class Dying extends Table {
      override async remove(): Promise<void> {
        throw new Error('died')
      }
    }
    const erasures = openErasures(new Dying(client, 'keys', 'test'))
    const none = { runs: 0, entries: 0, turns: 0, facts: 0, blobs: 0 }
    const by = { key: 'k', user: 'u' }
    const made = { id: newId(), subject: 'a', reason: 'r', by, at: 1, state: 'settling', erased: none } as const
    await erasures.create(tenant, made)
    const [open] = await erasures.openOf(tenant)
    const done = { ...made, state: 'done', doneAt: 2 } as const
    if (!open) throw new Error('it is not there')
    await expect(erasures.close({ ...open, erasure: done })).rejects.toThrow('died')
    expect([await erasures.get(tenant, made.id), await erasures.openOf(tenant)]).toEqual([made, [open]])
    await memory.erasures.close({ ...open, erasure: done })
    expect([await erasures.get(tenant, made.id), await erasures.openOf(tenant)]).toEqual([done, []])
    client.destroy()
  })
})
