import { createHash, hash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  checkpointText,
  emptyRoot,
  formatNote,
  formatProof,
  newVerifier,
  parseProof,
  parseVerifier,
  signNote,
  type TileFile,
  TileLog,
  type Tree,
  verifyProof,
} from '@muster/audit'
import { Heads, Journal } from '@muster/journal'
import { type Ledgers, openMemory } from '@muster/memory'
import { newId } from '@muster/protocol'
import { folderLedgers, RecordBook, Sealer } from '@muster/runtime'
import { verifyExport } from '@muster/verify'
import { pino } from 'pino'
import { chainOf, type MadeRun, newSigner, origin, writeExport } from '../../../src/export-fixture.ts'
import type { Place, Subject, Work } from '../subject.ts'

/** As many as the sealer decides at once. */
const BATCH = 4000

function leafOf(i: number): Buffer {
  const head = hash('sha256', String(i), 'hex')
  return Buffer.from(JSON.stringify({ v: 1, run: newId(), seq: 12, head, at: 1_795_867_200_000, state: 'ended' }))
}

const leavesOf = (count: number): Buffer[] => Array.from({ length: count }, (_, i) => leafOf(i))

function newLog(): TileLog {
  const tiles = new Map<string, Uint8Array>()
  const write = async (files: readonly TileFile[]) => {
    for (const { path, bytes } of files) tiles.set(path, bytes)
  }
  return new TileLog({ read: async (path) => tiles.get(path), write })
}

/** Does it until the time is over; gives how many that were. */
async function repeat(ms: number, once: () => Promise<number> | number): Promise<Work> {
  const began = performance.now()
  let [units, elapsedMs] = [0, 0]
  while (elapsedMs < ms) {
    units += await once()
    elapsedMs = performance.now() - began
  }
  return { units, elapsedMs }
}

/** The log alone, in memory: batches of leaves, and before each the root of what is there, as the sealer does. Or SHA-256 of leaves, one by one. */
export async function ledgerLeaves({ how }: { how: 'log' | 'hash' }): Promise<Subject> {
  const leaves = leavesOf(BATCH)
  const log = newLog()
  let tree: Tree = { size: 0, root: emptyRoot }
  const append = async () => {
    tree = await log.append(tree, leaves)
    return BATCH
  }
  const hashAll = () => {
    for (const leaf of leaves) hash('sha256', leaf, 'buffer')
    return BATCH
  }
  return {
    run: ({ ms }) => repeat(ms, how === 'log' ? append : hashAll),
    async close() {},
  }
}

/** How fast the machine is at what the verifier does most: SHA-256 of so many bytes, one by one. */
export async function sha256({ bytes }: { bytes: number }): Promise<Subject> {
  const text = 'x'.repeat(bytes)
  const hashAll = () => {
    for (let i = 0; i < BATCH; i++) hash('sha256', text, 'hex')
    return BATCH
  }
  return {
    run: ({ ms }) => repeat(ms, hashAll),
    async close() {},
  }
}

/** Heads lie in Redis as ended runs leave them; sealed until there are none, with a checkpoint over all. */
export async function ledgerSealer({
  redisUrl,
  dynamo,
  store,
}: Place & { store: 'folder' | 'DynamoDB' }): Promise<Subject> {
  const home = mkdtempSync(join(tmpdir(), 'muster-bench-ledger-'))
  const memory = await openMemory({ table: 'bench', endpoint: dynamo })
  const journal = await Journal.open({ url: redisUrl, namespace: `bench-ledger-${store}` })
  const ledgers: Ledgers = store === 'folder' ? folderLedgers(home) : memory.ledgers
  const heads = new Heads(journal)
  const log = pino({ level: 'silent' })
  const sealer = new Sealer({
    ...{
      heads,
      ledgers,
      book: new RecordBook(heads, memory.records),
      signers: [newSigner()],
      origin: 'log.example',
      worker: 'bench',
      log,
      clock: Date.now,
    },
  })
  const [{ redis, keys }] = journal.partitions
  return {
    async run({ ms }, meter) {
      const tenant = newId()
      const count = Math.max(1, Math.ceil(ms / 1000)) * BATCH
      for (let i = 0; i < count; i += BATCH / 5) {
        const lines = Array.from(
          { length: BATCH / 5 },
          (_, j) => `${newId()} 12 ${hash('sha256', String(i + j))} ended`,
        )
        await redis.xadd(keys.heads(tenant), '*', 'at', String(Date.now()), 'heads', lines.join('\n'))
      }
      meter.begin()
      const began = performance.now()
      while ((await sealer.seal(tenant)) !== 'done');
      const elapsedMs = performance.now() - began
      meter.end()
      const { state } = await ledgers(tenant).state()
      if (state?.size !== count || state.checkpoint === '') throw new Error(`${state?.size} of ${count} were sealed`)
      return { units: count, elapsedMs }
    },
    async close() {
      await journal.close()
      memory.close()
      rmSync(home, { recursive: true })
    },
  }
}

/** Receipts of a ledger of so many leaves: made from its tiles, then checked as who was given one does. */
export async function ledgerProofs({ leaves: count }: { leaves: number }): Promise<Subject> {
  const log = newLog()
  const leaves: Buffer[] = []
  let tree: Tree = { size: 0, root: emptyRoot }
  for (let i = 0; i < count; i += BATCH) {
    const batch = leavesOf(BATCH)
    leaves.push(...batch)
    tree = await log.append(tree, batch)
  }
  const signer = newSigner()
  const text = checkpointText({ origin, ...tree })
  const checkpoint = formatNote({ text, signatures: [await signNote(text, origin, signer)] })
  const key = parseVerifier(newVerifier(origin, signer.publicKey).vkey)
  if (!key) throw new Error('no key')
  return {
    async run({ ms }) {
      let [bytes, makeMs, checkMs, at] = [0, 0, 0, 0]
      const work = await repeat(ms, async () => {
        at = (at + 611_953) % tree.size
        const entry = leaves[at] as Buffer // less than its length
        const began = performance.now()
        const proof = formatProof({ index: at, inclusion: await log.inclusion(at, tree.size), checkpoint, entry })
        const made = performance.now()
        const parsed = parseProof(proof)
        if (!parsed || !verifyProof(parsed, entry, origin, [key])) throw new Error('a receipt that proves nothing')
        checkMs += performance.now() - made
        makeMs += made - began
        bytes += Buffer.byteLength(proof)
        return 1
      })
      const { units } = work
      const figures = { bytes: bytes / units, makeUs: (makeMs / units) * 1000, checkUs: (checkMs / units) * 1000 }
      return { ...work, figures }
    },
    async close() {},
  }
}

/** Entries of a run: every other one with content, about 500 bytes as stored. */
const RUN_ENTRIES = 100

/** An export of so many entries: verified as a whole, or hashed alone, each file and then each line. */
export async function ledgerExport({ entries, how }: { entries: number; how: 'verify' | 'hash' }): Promise<Subject> {
  const home = mkdtempSync(join(tmpdir(), 'muster-bench-export-'))
  const signer = newSigner()
  const runs = Array.from({ length: Math.ceil(entries / RUN_ENTRIES) }, (_, i) => newRun(i))
  await writeExport(home, runs, { signer })
  const keys = [newVerifier(origin, signer.publicKey).vkey]
  const units = runs.length * RUN_ENTRIES
  const verify = () => {
    const result = verifyExport(home, { keys, threads: 1 })
    if (!result.ok || result.entries !== units) throw new Error(`not verified: ${JSON.stringify(result.findings[0])}`)
    return units
  }
  const hashAll = () => {
    for (const name of readdirSync(join(home, 'runs'))) {
      const bytes = readFileSync(join(home, 'runs', name))
      createHash('sha256').update(bytes).digest()
      for (const line of bytes.toString('latin1').trimEnd().split('\n')) hash('sha256', line)
    }
    return units
  }
  return {
    run: ({ ms }) => repeat(ms, how === 'verify' ? verify : hashAll),
    async close() {
      rmSync(home, { recursive: true })
    },
  }
}

function newRun(i: number): MadeRun {
  const id = newId()
  const of = { kind: 'tool', target: 'world.write', attempt: 1, labels: ['untrusted'] }
  const decision = { effect: 'allow', policies: ['clerk-works'], set: 'a'.repeat(64) }
  const steps = Array.from({ length: RUN_ENTRIES / 2 - 1 }, (_, n) => [
    { type: 'step.intent', step: `${n}.write`, ...of, effect: 'write', idempotencyKey: `${id}/${n}.write`, decision },
    { type: 'step.ended', step: `${n}.write`, ...of, status: 'ok', durationMs: i % 100 },
  ])
  const entries = [
    { type: 'run.created', run: id, tenant: 'acme', redacted: { email: 2 } },
    ...steps.flat(),
    { type: 'run.ended', status: 'succeeded', labels: [], steps: steps.length },
  ]
  return {
    id,
    entries: chainOf(id, entries, 'what the step gave, in so many words as it takes'),
    sealedAt: [2, RUN_ENTRIES],
  }
}
