import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  base64,
  openCheckpoint,
  parseVerifier,
  type Signer,
  TILE_WIDTH,
  type TileFile,
  TileLog,
  type Tree,
  verifyConsistency,
  verifyProof,
} from '@muster/audit'
import { Heads, Journal, RunWriter, Writer } from '@muster/journal'
import type { LedgerStore, Ledgers } from '@muster/memory'
import { type LedgerLeaf, newId } from '@muster/protocol'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { RecordBook } from '../archive/record-book.ts'
import { stopMemory, stopRedis, theMemory, theRedis } from '../fixture.ts'
import { folderLedgers } from './folder.ts'
import { newLedgerKey, readLedgerKeys } from './keys.ts'
import { LedgerReader } from './reader.ts'
import { Sealer } from './sealer.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-sealer-'))
let journal: Journal
let heads: Heads
let book: RecordBook
let signers: Signer[]
let stores: Record<'folder' | 'DynamoDB', Ledgers>

beforeAll(async () => {
  const memory = await theMemory()
  stores = { folder: folderLedgers(join(dir, 'ledgers')), DynamoDB: memory.ledgers }
  journal = await Journal.open({ url: (await theRedis()).url, namespace: 'sealer', partitions: 2 })
  heads = new Heads(journal)
  book = new RecordBook(heads, memory.records)
  signers = keysOf(newLedgerKey())
})
afterAll(async () => {
  await journal.close()
  await stopMemory()
  await stopRedis()
  rmSync(dir, { recursive: true })
})

function keysOf(...pems: string[]): Signer[] {
  const file = join(dir, `${newId()}.pem`)
  writeFileSync(file, pems.join('\n'), { mode: 0o600 })
  return readLedgerKeys(file)
}

/** Runs that ended, by what the journal says: what the ledger must have. */
async function endRuns(tenant: string, count: number): Promise<Map<string, string>> {
  const writer = new Writer({
    partitions: journal.partitions,
    clock: Date.now,
    offload: async () => {},
    onWake: () => {},
    onParentMail: () => {},
    onError: (error) => {
      throw error
    },
    onDrain: () => {},
    ledger: true,
  })
  const ended = new Map<string, string>()
  const definition = { kind: 'plan' as const, name: 'p', version: '1', hash: '' }
  await Promise.all(
    Array.from({ length: count }, async () => {
      const run = newId()
      const created = { run, tenant, definition, by: { key: 'k', user: 'u' }, labels: [], limits: {} }
      await journal.create(created, {}, { offload: async () => {} })
      const held = await journal.activate(run)
      if (!held) throw new Error('nothing to do')
      const pen = new RunWriter({ run, tenant, ...held }, { mail: () => {}, lost: () => {} })
      const seq = writer.append(pen, '"type":"message.ignored","at":1,"about":"child"')
      writer.close(pen, { op: 'end', status: 'succeeded', summary: {} })
      await new Promise<void>((resolve) => pen.whenDurable(seq, resolve))
      ended.set(run, pen.head)
    }),
  )
  return ended
}

const sealer = (ledgers: Ledgers, extra: { signers?: Signer[]; heads?: Heads } = {}) =>
  new Sealer({
    ...{
      heads,
      ledgers,
      book,
      signers,
      origin: 'log.example',
      worker: 'w',
      log: pino({ level: 'silent' }),
      clock: Date.now,
    },
    ...extra,
  })

async function sealToEnd(one: Sealer, tenant: string): Promise<void> {
  while ((await one.seal(tenant)) !== 'done');
}

async function leavesOf(store: LedgerStore): Promise<LedgerLeaf[]> {
  const { state } = await store.state()
  const size = state?.size ?? 0
  const log = new TileLog(store)
  const leaves: LedgerLeaf[] = []
  for (let at = 0; at < size; at += 256) {
    for (const entry of await log.entries(at / 256, size)) leaves.push(JSON.parse(Buffer.from(entry).toString()))
  }
  return leaves
}

/** Each checkpoint must begin with all that the one before it had, and be signed. */
class Auditor {
  last: Tree | undefined
  readonly store: LedgerStore
  readonly origin: string

  constructor(store: LedgerStore, origin: string) {
    this.store = store
    this.origin = origin
  }

  async check(): Promise<void> {
    const { state } = await this.store.state()
    if (!state?.checkpoint) return
    const keys = state.keys.flatMap((vkey) => parseVerifier(vkey) ?? [])
    const now = openCheckpoint(state.checkpoint, this.origin, keys)
    if (!now) throw new Error('a checkpoint that does not verify')
    const { last } = this
    if (last) {
      const proof = await new TileLog(this.store).consistency(last.size, now.size, state.size)
      expect(verifyConsistency(last, now, proof)).toBe(true)
    }
    this.last = { size: now.size, root: now.root }
  }
}

/** What happens to a sealer at its n-th call of the store. */
interface Fate {
  calls: number
  /** It dies before the call, or with the call done and its answer lost; or it stands still until others are done, and goes on. */
  how: 'dies' | 'dies after' | 'stalls'
}

function fated(ledgers: Ledgers, { calls, how }: Fate, othersDone: Promise<unknown>): Ledgers {
  let left = calls
  return (tenant) =>
    new Proxy(ledgers(tenant), {
      get(store, name: keyof LedgerStore) {
        // One of the store's methods, called with what it takes.
        const method = store[name] as (...args: unknown[]) => Promise<unknown>
        const call = async (...args: unknown[]) => {
          left--
          if (how === 'stalls') {
            if (left === -1) await othersDone
            return method(...args)
          }
          if (left < 0 && !(how === 'dies after' && left === -1)) throw new Error('died')
          const answer = await method(...args)
          if (left < 0) throw new Error('died')
          return answer
        }
        if (name !== 'write') return call
        // Between what it writes at once, too.
        return async (tiles: readonly TileFile[], size: number) => {
          const partial = tiles.filter(({ width }) => width < TILE_WIDTH)
          for (const tile of tiles) if (tile.width === TILE_WIDTH) await call([tile], size)
          await call(partial, size)
        }
      },
    })
}

describe.each(['folder', 'DynamoDB'] as const)('the sealer, in %s', (kind) => {
  it('brings every head into the ledger once, with a checkpoint over all, and a receipt for each', async () => {
    const tenant = newId()
    const ended = await endRuns(tenant, 300)
    await sealToEnd(sealer(stores[kind]), tenant)
    const leaves = await leavesOf(stores[kind](tenant))
    expect(new Map(leaves.map(({ run, head }) => [run, head]))).toEqual(ended)
    expect(leaves).toHaveLength(300)
    expect(await heads.tenants()).not.toContain(tenant)
    const reader = new LedgerReader(stores[kind])
    for (const run of [...ended.keys()].slice(0, 20)) {
      const receipt = await reader.receipt(tenant, run)
      const keys = receipt.keys.flatMap((vkey) => parseVerifier(vkey) ?? [])
      const inclusion = receipt.inclusion.flatMap((hash) => base64(hash) ?? [])
      const leaf = Buffer.from(receipt.leaf)
      expect(verifyProof({ ...receipt, inclusion }, leaf, `log.example/${tenant}`, keys)?.size).toBe(300)
      expect(JSON.parse(receipt.leaf)).toMatchObject({ v: 1, run, seq: 2, head: ended.get(run), state: 'ended' })
    }
  })

  it('loses, doubles and changes no leaf, wherever sealers die or stall, however many take themselves for the only one', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            runs: fc.nat({ max: 6 }),
            fates: fc.array(
              fc.record({
                calls: fc.nat({ max: 14 }),
                how: fc.constantFrom('dies' as const, 'dies after' as const, 'stalls' as const),
              }),
              { minLength: 1, maxLength: 3 },
            ),
          }),
          { minLength: 1, maxLength: 4 },
        ),
        async (rounds) => {
          const tenant = newId()
          const store = stores[kind](tenant)
          const auditor = new Auditor(store, `log.example/${tenant}`)
          // It remembers what it wrote last, and others have gone on since.
          const resident = sealer(stores[kind])
          const ended = new Map<string, string>()
          for (const { runs, fates } of rounds) {
            for (const [run, head] of await endRuns(tenant, runs)) ended.set(run, head)
            const { promise: othersDone, resolve } = Promise.withResolvers<void>()
            const sealAs = (fate: Fate) => sealToEnd(sealer(fated(stores[kind], fate, othersDone)), tenant)
            const stalled = fates.filter(({ how }) => how === 'stalls').map(sealAs)
            await Promise.allSettled(fates.filter(({ how }) => how !== 'stalls').map(sealAs))
            // Others do their work, and more comes, while these stand still.
            for (const [run, head] of await endRuns(tenant, runs)) ended.set(run, head)
            await sealToEnd(resident, tenant)
            await auditor.check()
            resolve()
            await Promise.allSettled(stalled)
            await auditor.check()
          }
          await sealToEnd(sealer(stores[kind]), tenant)
          await auditor.check()
          const leaves = await leavesOf(store)
          expect(leaves.map(({ run }) => run).sort()).toEqual([...ended.keys()].sort())
          expect(new Map(leaves.map(({ run, head }) => [run, head]))).toEqual(ended)
          const { state } = await store.state()
          expect(auditor.last?.size ?? 0).toBe(ended.size)
          expect(state?.pending.length ?? 0).toBe(0)
        },
      ),
      { seed: 1, numRuns: 25 },
    )
  })

  it('signs with every key while one takes the place of another', async () => {
    const tenant = newId()
    const [old, young] = [newLedgerKey(), newLedgerKey()]
    const seen: string[][] = []
    for (const pems of [[old], [young, old], [young]]) {
      await endRuns(tenant, 1)
      await sealToEnd(sealer(stores[kind], { signers: keysOf(...pems) }), tenant)
      const { checkpoint, origin, keys } = await new LedgerReader(stores[kind]).head(tenant)
      for (const vkey of keys) {
        const key = parseVerifier(vkey)
        expect(key && openCheckpoint(checkpoint, origin, [key])).toBeDefined()
      }
      seen.push(keys)
    }
    const [[first], [, overlap]] = seen as [[string], [string, string], [string]]
    expect(overlap).toBe(first)
    expect(seen[1]?.[0]).toBe(seen[2]?.[0])
  })

  it('does not go on from tiles that were changed', async () => {
    const tenant = newId()
    await endRuns(tenant, 3)
    await sealToEnd(sealer(stores[kind]), tenant)
    const changed: Ledgers = (of) => {
      const store = stores[kind](of)
      const read = async (path: string) => {
        const bytes = await store.read(path)
        if (bytes && !path.includes('entries')) bytes[40] = (bytes[40] ?? 0) ^ 1
        return bytes
      }
      return { ...store, read }
    }
    await endRuns(tenant, 1)
    await expect(sealToEnd(sealer(changed), tenant)).rejects.toMatchObject({ code: 'ledger.corrupt' })
    await sealToEnd(sealer(stores[kind]), tenant)
    expect(await leavesOf(stores[kind](tenant))).toHaveLength(4)
  })
})
