import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  formatNote,
  genesis,
  link,
  openCheckpoint,
  parseNote,
  parseProof,
  parseVerifier,
  sameHash,
  signNote,
  TileLog,
  verifyProof,
} from '@muster/audit'
import type { LedgerLeaf } from '@muster/protocol'
import { readLedgerKeys } from '@muster/worker/settings'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { chain } from './fixtures/app.ts'
import { ACCESS_KEY, S3Server, SECRET_KEY, type Version } from './fixtures/s3-server.ts'
import { type Harness, type Ran, runCli, startHarness, stopProcess, until } from './harness.ts'

const home = mkdtempSync(join(tmpdir(), 'muster-ledger-'))
const keyFile = join(home, 'ledger.pem')

let harness: Harness
let muster: Harness['muster']
let redis: Redis

beforeAll(async () => {
  expect((await cliOf('ledger', 'key', keyFile)).code).toBe(0)
  harness = await startHarness({
    MUSTER_PARTITIONS: '2',
    MUSTER_LEDGER_KEY_FILE: keyFile,
    MUSTER_LEDGER_ORIGIN: 'log.example',
    MUSTER_LEDGER_HEADS_MS: '200',
  })
  muster = harness.muster
  redis = new Redis(harness.redisUrl)
})
afterEach(() => harness.killWorkers())
afterAll(async () => {
  redis.disconnect()
  await harness.close()
  rmSync(home, { recursive: true })
})

function cliOf(...args: string[]): Promise<Ran> {
  return cliWith({}, ...args)
}

function cliWith(settings: Record<string, string>, ...args: string[]): Promise<Ran> {
  const server = harness ? { MUSTER_URL: harness.url, MUSTER_KEY: harness.key } : {}
  const ledger = { MUSTER_LEDGER_KEY_FILE: keyFile, MUSTER_LEDGER_ORIGIN: 'log.example' }
  return runCli(args, { MUSTER_HOME: home, ...ledger, ...server, ...settings })
}

/** The newest leaf of a run, once it is one of these. */
const sealed = (run: string, states: LedgerLeaf['state'][]) =>
  until(
    async (): Promise<LedgerLeaf | undefined> => {
      const receipt = await muster.ledger.receipt(run).catch(() => undefined)
      return receipt && JSON.parse(receipt.leaf)
    },
    (leaf) => leaf !== undefined && states.includes(leaf.state),
    60_000,
  )

/** The ledger as anybody reads it who knows only C2SP tlog-tiles. */
const overHttp = new TileLog({
  async read(path) {
    const response = await fetch(`${harness.url}/v1/ledger/${path}`, {
      headers: { authorization: `Bearer ${harness.key}` },
    })
    return response.ok ? new Uint8Array(await response.arrayBuffer()) : undefined
  },
  write: () => Promise.reject(new Error('only read')),
})

async function leaves(): Promise<LedgerLeaf[]> {
  const { size } = await muster.ledger.head()
  const all: LedgerLeaf[] = []
  for (let i = 0; i * 256 < size; i++) {
    for (const entry of await overHttp.entries(i, size)) all.push(JSON.parse(Buffer.from(entry).toString()))
  }
  return all
}

describe('the ledger', () => {
  it('has what ended, with a receipt that is checked against the journal, and can be kept', async () => {
    await harness.worker()
    const run = await muster.runs.start(chain, { n: 2, ms: 0 })
    await run.result()
    const { entries } = await run.get()
    expect(await sealed(run.id, ['ended'])).toMatchObject({ run: run.id, seq: entries, state: 'ended' })
    const file = join(home, 'run.tlog-proof')
    const shown = await cliOf('receipt', run.id, '--out', file)
    expect(shown).toMatchObject({ code: 0, out: expect.stringContaining(`${entries} entries, ended`) })
    const proof = parseProof(readFileSync(file, 'utf8'))
    const keys = (await muster.ledger.head()).keys.flatMap((vkey) => parseVerifier(vkey) ?? [])
    expect(proof && verifyProof(proof, proof.entry ?? Buffer.of(), 'log.example/acme', keys)).toBeDefined()
    expect(await cliOf('ledger', 'check')).toMatchObject({ code: 0, out: expect.stringContaining('all ') })
    const trusted = await cliOf('ledger', 'vkeys', 'acme')
    expect(await cliOf('receipt', run.id, '--key', trusted.out.trim())).toMatchObject({ code: 0 })
    // Asked for at once, it waits until there is one.
    const next = await muster.runs.start(chain, { n: 1, ms: 0 })
    await next.result()
    expect(await cliOf('receipt', next.id)).toMatchObject({ code: 0, out: expect.stringContaining('entries, ended') })
    // Keys that are given are trusted, and no other.
    const stranger = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k'
    expect(await cliOf('receipt', run.id, '--key', stranger)).toMatchObject({ code: 1 })
  })

  it('has what parked, and what runs, before it ends', async () => {
    await harness.worker()
    const parked = await muster.runs.start({ steps: { a: { sleepMs: 3_600_000 } } }, {})
    expect(await sealed(parked.id, ['parked'])).toMatchObject({ state: 'parked' })
    const running = await muster.runs.start(chain, { n: 400, ms: 50 })
    const first = await sealed(running.id, ['running'])
    const next = await until(
      () => sealed(running.id, ['running']),
      (leaf) => (leaf?.seq ?? 0) > (first?.seq ?? 0),
    )
    const { status } = await running.get()
    expect([status, next?.state]).toEqual(['running', 'running'])
    await running.terminate()
    await parked.terminate()
    await sealed(running.id, ['ended'])
    expect(await cliOf('receipt', running.id)).toMatchObject({ code: 0 })
  })

  it('finds a journal that was written anew, with every hash right, where verify alone cannot', async () => {
    // No copy elsewhere.
    await harness.worker({ MUSTER_ARCHIVE: 'off' })
    const run = await muster.runs.start(chain, { n: 2, ms: 0 })
    await run.result()
    await sealed(run.id, ['ended'])
    const tag = (await redis.keys(`*:log:${run.id}`))[0]?.split(':')[0]
    const log = `${tag}:log:${run.id}`
    const records = await redis.xrange(log, '-', '+')
    await redis.del(log)
    let head = genesis(run.id)
    for (const [id, fields] of records) {
      const at = fields.indexOf('e') + 1
      const lines = (fields[at] ?? '').split('\n').map((line) => {
        const bytes = line.slice(65).replace('"policies":["all"]', '"policies":["any"]')
        head = link(head, bytes)
        return `${head} ${bytes}`
      })
      await redis.xadd(log, id, ...fields.with(at, lines.join('\n')))
    }
    await redis.hset(`${tag}:run:${run.id}`, 'head', head)
    expect(await cliOf('verify', run.id)).toMatchObject({ code: 0 })
    const receipt = await cliOf('receipt', run.id)
    expect(receipt).toMatchObject({ code: 1, out: expect.stringContaining('DOES NOT HOLD') })
    expect(receipt.out).toContain('is not the head that was recorded')
    const check = await cliOf('ledger', 'check')
    expect(check).toMatchObject({
      code: 1,
      out: expect.stringContaining(`run ${run.id}: entry ${records.at(-1)?.[0].split('-')[0]}`),
    })
    // Or gone altogether.
    await redis.del(log, `${tag}:run:${run.id}`)
    const gone = await cliOf('ledger', 'check')
    expect(gone).toMatchObject({
      code: 1,
      out: expect.stringContaining(`run ${run.id}: the run is not there any more`),
    })
  })

  it('is read in static files by anybody, and has the root that is signed', async () => {
    await harness.worker()
    await (await muster.runs.start(chain, { n: 1, ms: 0 })).result()
    const { origin, keys, checkpoint, size } = await muster.ledger.head()
    expect(origin).toBe('log.example/acme')
    const opened = openCheckpoint(
      checkpoint,
      origin,
      keys.flatMap((vkey) => parseVerifier(vkey) ?? []),
    )
    expect(opened?.size).toBe(size)
    expect(sameHash(await overHttp.root(size), opened?.root ?? Buffer.of())).toBe(true)
    const get = (path: string) =>
      fetch(`${harness.url}/v1/ledger/${path}`, { headers: { authorization: `Bearer ${harness.key}` } })
    const plain = await get('checkpoint')
    expect(plain.headers.get('content-type')).toBe('text/plain; charset=utf-8')
    expect(await plain.text()).toContain(`${origin}\n`)
    // What no checkpoint has yet is not served, nor what is no tile.
    for (const path of ['tile/0/000', 'tile/0/000.p/255', 'tile/1/000.p/1', 'tile/0/0', 'tile/0/..%2f000'])
      expect((await get(path)).status).toBe(404)
  })

  it('only grows, and who has seen it before finds out where it did not', async () => {
    await harness.worker()
    const run = await muster.runs.start(chain, { n: 1, ms: 0 })
    await run.result()
    await sealed(run.id, ['ended'])
    expect(await cliOf('ledger')).toMatchObject({ code: 0 })
    const more = await muster.runs.start(chain, { n: 1, ms: 0 })
    await more.result()
    await sealed(more.id, ['ended'])
    const shown = await cliOf('ledger')
    expect(shown).toMatchObject({ code: 0, out: expect.stringContaining('when it was seen last') })
    const file = join(home, 'ledger-seen.json')
    const seen = JSON.parse(readFileSync(file, 'utf8'))
    writeFileSync(
      file,
      JSON.stringify({ 'log.example/acme': { ...seen['log.example/acme'], root: `${'A'.repeat(43)}=` } }),
    )
    expect(await cliOf('ledger')).toMatchObject({ code: 1, out: expect.stringContaining('REWRITTEN') })
    writeFileSync(file, JSON.stringify(seen))
  })

  it("is of the key's own tenant", async () => {
    await harness.worker()
    const run = await muster.runs.start(chain, { n: 1, ms: 0 })
    await run.result()
    await sealed(run.id, ['ended'])
    await expect(harness.stranger.ledger.head()).rejects.toMatchObject({ code: 'ledger.off' })
    await expect(harness.stranger.ledger.receipt(run.id)).rejects.toMatchObject({ code: 'ledger.off' })
    const own = await harness.stranger.runs.start(chain, { n: 1, ms: 0 })
    await own.result()
    await until(
      () => harness.stranger.ledger.receipt(own.id).catch(() => undefined),
      (receipt) => receipt !== undefined,
    )
    await expect(harness.stranger.ledger.receipt(run.id)).rejects.toMatchObject({ code: 'ledger.not_sealed' })
    expect((await harness.stranger.ledger.head()).origin).toBe('log.example/other')
  })

  it('loses and doubles nothing when workers that seal are killed (kill -9)', async () => {
    const ids: string[] = []
    for (let round = 0; round < 4; round++) {
      const workers = await Promise.all([harness.worker(), harness.worker()])
      const started = await Promise.all(Array.from({ length: 25 }, () => muster.runs.start(chain, { n: 2, ms: 5 })))
      ids.push(...started.map(({ id }) => id))
      // At a place of its own each time: while runs end, and while the sealers write.
      await new Promise((resolve) => setTimeout(resolve, 600 + 350 * round))
      await Promise.all(workers.map((worker) => stopProcess(worker, 'SIGKILL')))
    }
    await harness.worker()
    for (const id of ids) await sealed(id, ['ended'])
    const all = await leaves()
    const ended = all.filter(({ state }) => state === 'ended')
    for (const id of ids) expect(ended.filter(({ run }) => run === id)).toHaveLength(1)
    expect(new Set(all.map(({ run, seq }) => `${run} ${seq}`)).size).toBe(all.length)
    const { checkpoint, origin, keys, size } = await muster.ledger.head()
    const opened = openCheckpoint(
      checkpoint,
      origin,
      keys.flatMap((vkey) => parseVerifier(vkey) ?? []),
    )
    expect(sameHash(await overHttp.root(size), opened?.root ?? Buffer.of())).toBe(true)
  })

  it('is sealed by those who have a key, into files, and shown to a witness', async () => {
    const [folder, witness] = [join(home, 'static'), join(home, 'witness')]
    const files = { MUSTER_LEDGER_DIR: folder, MUSTER_LEDGER_WITNESSES: JSON.stringify([{ folder: witness }]) }
    const keyless = await harness.worker({ ...files, MUSTER_LEDGER: 'heads', MUSTER_LEDGER_KEY_FILE: '' })
    const run = await muster.runs.start(chain, { n: 1, ms: 0 })
    await run.result()
    await stopProcess(keyless)
    const { keys, origin } = await muster.ledger.head()
    const read = (path: string) => readFile(join(folder, 'acme', path)).catch(() => undefined)
    expect(await read('checkpoint')).toBeUndefined()
    await harness.worker(files)
    const checkpoint = await until(
      () => read('checkpoint'),
      (bytes) => bytes !== undefined,
    )
    const opened = openCheckpoint(
      String(checkpoint),
      origin,
      keys.flatMap((vkey) => parseVerifier(vkey) ?? []),
    )
    const size = opened?.size ?? 0
    const log = new TileLog({ read, write: () => Promise.reject(new Error('only read')) })
    expect(sameHash(await log.root(size), opened?.root ?? Buffer.of())).toBe(true)
    const leaves = (await log.entries(0, size)).map((entry) => JSON.parse(Buffer.from(entry).toString()))
    expect(leaves).toContainEqual(expect.objectContaining({ run: run.id, state: 'ended' }))
    const shown = join(witness, createHash('sha256').update(origin).digest('hex'), String(size).padStart(16, '0'))
    const kept = await until(
      () => readFile(shown, 'utf8').catch(() => undefined),
      (text) => text !== undefined,
    )
    expect(kept).toBe(String(checkpoint))
  })

  it('is shown to a bucket with object lock, and compared with what is there', async () => {
    const s3 = new S3Server()
    const versions = s3.bucket('checkpoints')
    const endpoint = await s3.listen()
    const aws = { AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY, AWS_REGION: 'eu-central-1' }
    const witness = { bucket: 'checkpoints', endpoint, retainDays: 1 }
    const settings = { ...aws, MUSTER_LEDGER_WITNESSES: JSON.stringify([witness]) }
    const compared = async () => {
      const { code, out } = await cliWith(settings, 'ledger', 'witness', '--json')
      return { code, ...JSON.parse(out) }
    }
    try {
      await harness.worker(settings)
      await (await muster.runs.start(chain, { n: 1, ms: 0 })).result()
      await until(
        async () => versions.size,
        (count) => count > 0,
      )
      expect(await compared()).toMatchObject({ code: 0, ok: true, witnesses: [{ wrong: [] }] })
      // A ledger that was another when the witness saw it, with the keys of the same.
      const [[key, [kept]] = ['', []]] = versions as Map<string, Version[]>
      const { text } = parseNote(String(kept?.body)) ?? { text: '' }
      const [origin = '', size] = text.split('\n')
      const other = `${origin}\n${size}\n${Buffer.alloc(32).toString('base64')}\n`
      const [signer] = readLedgerKeys(keyFile)
      if (!signer) throw new Error('no key')
      const body = formatNote({ text: other, signatures: [await signNote(other, origin, signer)] })
      versions.get(key)?.push({ id: 'other', body: Buffer.from(body), deleted: false, lock: undefined })
      const wrong = [{ file: key.split('/').at(-1), message: `the first ${size} leaves are not what they were` }]
      expect(await compared()).toMatchObject({ code: 1, ok: false, witnesses: [{ wrong }] })
      const human = await cliWith(settings, 'ledger', 'witness')
      expect(human.out).toContain('ANOTHER LEDGER')
      s3.bucket('checkpoints')
      expect(await compared()).toMatchObject({ code: 1, ok: false, witnesses: [{ kept: 0 }] })
      s3.bucket('checkpoints', false)
      const refused = await cliWith(settings, 'ledger', 'witness')
      expect(refused.code).toBe(1)
      expect(refused.err).toContain('has no object lock')
    } finally {
      s3.close()
    }
  })
})
