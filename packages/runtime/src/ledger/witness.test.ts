import { spawn } from 'node:child_process'
import { createHash, createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  base64,
  checkpointText,
  cosign,
  emptyRoot,
  formatNote,
  formatSignature,
  newVerifier,
  openCheckpoint,
  parseCheckpoint,
  parseNote,
  type Signer,
  signNote,
  TileLog,
  type Tree,
  verifyConsistency,
} from '@muster/audit'
import { Heads, Journal } from '@muster/journal'
import { newId } from '@muster/protocol'
import { type RedisService, startRedis } from '@muster/stack'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { folderLedgers } from './folder.ts'
import { folderShelf, shelfWitness } from './shelf.ts'
import { httpWitness, Witnesses } from './witness.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-witness-'))
const ledgers = folderLedgers(join(dir, 'ledgers'))
const origin = 'log.example/acme'
const [log, witnessSigner, stranger] = [newSigner(), newSigner(), newSigner()]
const logKey = newVerifier(origin, log.publicKey)
const witnessKey = newVerifier('witness.example/w1', witnessSigner.publicKey, 'cosignature/v1')

function newSigner(): Signer {
  const { privateKey } = generateKeyPairSync('ed25519')
  const key = createPrivateKey(privateKey.export({ format: 'pem', type: 'pkcs8' }))
  const publicKey = Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url')
  return { publicKey, sign: async (message) => sign(null, message, key) }
}

/** A witness as tlog-witness says, written from the specification. */
class TestWitness {
  readonly latest = new Map<string, Tree>()
  signer = witnessSigner
  requests = 0
  down = false

  async answer(path: string, body: string): Promise<[status: number, body: string]> {
    this.requests++
    if (this.down) return [503, '']
    if (path !== '/add-checkpoint') return [404, '']
    const end = body.indexOf('\n\n')
    const [first = '', ...proof] = body.slice(0, end).split('\n')
    const [, digits] = /^old (0|[1-9]\d*)$/.exec(first) ?? []
    const note = body.slice(end + 2)
    const text = parseNote(note)?.text ?? ''
    const named = parseCheckpoint(text)
    if (digits === undefined || !named || proof.length > 63) return [400, '']
    if (named.origin !== origin) return [404, '']
    const checkpoint = openCheckpoint(note, origin, [logKey])
    if (!checkpoint) return [403, '']
    const old = Number(digits)
    if (old > checkpoint.size) return [400, '']
    const before = this.latest.get(origin)
    if (old !== (before?.size ?? 0)) return [409, `${before?.size ?? 0}\n`]
    const hashes = proof.map((line) => base64(line) ?? Buffer.of())
    const holds = before ? verifyConsistency(before, checkpoint, hashes) : hashes.length === 0
    if (!holds) return [422, '']
    this.latest.set(origin, { size: checkpoint.size, root: checkpoint.root })
    return [200, formatSignature(await cosign(text, witnessKey.name, this.signer, 1_679_315_147))]
  }
}

let redis: RedisService
let journal: Journal
let heads: Heads
let server: Server
let url: string
let witness: TestWitness

beforeAll(async () => {
  redis = await startRedis({ dir: join(dir, 'redis') })
  journal = await Journal.open({ url: redis.url, namespace: 'witness' })
  heads = new Heads(journal)
  server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    const [status, text] = await witness.answer(request.url ?? '', body)
    response.writeHead(status, status === 409 ? { 'content-type': 'text/x.tlog.size' } : {}).end(text)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  // Null only before it listens.
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
})
beforeEach(() => {
  witness = new TestWitness()
})
afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await journal.close()
  await redis.stop()
  rmSync(dir, { recursive: true })
})

/** A ledger that grows, as a sealer would have it grow. */
class TestLedger {
  readonly tenant = newId()
  readonly store = ledgers(this.tenant)

  async grow(count: number): Promise<void> {
    const { version, state } = await this.store.state()
    const { size, root: encoded } = state ?? { size: 0, root: Buffer.from(emptyRoot).toString('base64') }
    const before = { size, root: base64(encoded) ?? emptyRoot }
    const entries = Array.from({ length: count }, (_, i) => Buffer.from(`leaf ${size + i}`))
    const tree = await new TileLog(this.store).append(before, entries)
    const text = checkpointText({ origin, ...tree })
    const checkpoint = formatNote({ text, signatures: [await signNote(text, origin, log)] })
    const root = Buffer.from(tree.root).toString('base64')
    await this.store.setState(version, {
      size: tree.size,
      root,
      pending: Buffer.of(),
      cursors: {},
      checkpoint,
      keys: [],
    })
  }

  async verified() {
    const { state } = await this.store.state()
    return openCheckpoint(state?.checkpoint ?? '', origin, [logKey, witnessKey])?.verified
  }
}

function witnessesOf(...list: ReturnType<typeof httpWitness>[]): { show(ledger: TestLedger): Promise<void> } {
  const witnesses = new Witnesses({
    heads,
    ledgers,
    witnesses: list,
    log: pino({ level: 'silent' }),
    everyMs: 0,
  })
  return {
    async show({ tenant }) {
      witnesses.show(tenant)
      await witnesses.settled()
    },
  }
}

const both = [{ vkey: logKey.vkey }, { vkey: witnessKey.vkey, at: 1_679_315_147 }]

describe('a witness over HTTP', () => {
  it('cosigns a ledger as it grows, and the cosignature stays with the checkpoint', async () => {
    const ledger = new TestLedger()
    const shown = witnessesOf(httpWitness(url, witnessKey.vkey))
    for (const count of [3, 300, 1]) {
      await ledger.grow(count)
      expect(await ledger.verified()).toEqual([both[0]])
      await shown.show(ledger)
      expect(await ledger.verified()).toEqual(both)
    }
    expect(witness.latest.get(origin)?.size).toBe(304)
    expect(witness.requests).toBe(3)
  })

  it('that has seen more than we know of is asked from where it is', async () => {
    const ledger = new TestLedger()
    await ledger.grow(5)
    await witnessesOf(httpWitness(url, witnessKey.vkey)).show(ledger)
    await ledger.grow(7)
    // Another process: it begins with nothing.
    await witnessesOf(httpWitness(url, witnessKey.vkey)).show(ledger)
    expect(await ledger.verified()).toEqual(both)
    expect(witness.requests).toBe(3)
  })

  it('does not cosign a ledger that was written anew or rolled back', async () => {
    const ledger = new TestLedger()
    await ledger.grow(5)
    await witnessesOf(httpWitness(url, witnessKey.vkey)).show(ledger)
    const rolledBack = new TestLedger()
    await rolledBack.grow(4)
    await witnessesOf(httpWitness(url, witnessKey.vkey)).show(rolledBack)
    expect(await rolledBack.verified()).toEqual([both[0]])
    const tampered = { size: 5, root: Buffer.alloc(32) }
    witness.latest.set(origin, tampered)
    await ledger.grow(1)
    await witnessesOf(httpWitness(url, witnessKey.vkey)).show(ledger)
    expect(await ledger.verified()).toEqual([both[0]])
    expect(witness.latest.get(origin)).toBe(tampered)
  })

  it('whose cosignature does not hold, or that does not answer, leaves the checkpoint as it is', async () => {
    const ledger = new TestLedger()
    await ledger.grow(5)
    witness.signer = stranger
    await witnessesOf(httpWitness(url, witnessKey.vkey)).show(ledger)
    expect(await ledger.verified()).toEqual([both[0]])
    witness.signer = witnessSigner
    witness.down = true
    await witnessesOf(httpWitness(url, witnessKey.vkey)).show(ledger)
    expect(await ledger.verified()).toEqual([both[0]])
    witness.down = false
    await witnessesOf(httpWitness(url, witnessKey.vkey)).show(ledger)
    expect(await ledger.verified()).toEqual(both)
  })

  it('needs a key that cosigns', () => {
    expect(() => httpWitness(url, logKey.vkey)).toThrow('no key that cosigns')
    expect(() => httpWitness(url, 'none')).toThrow('no key that cosigns')
  })
})

describe('a folder as witness', () => {
  it('keeps each checkpoint as it came first', async () => {
    const ledger = new TestLedger()
    const folder = join(dir, 'witness')
    const shown = witnessesOf(shelfWitness(folderShelf(folder)))
    await ledger.grow(2)
    await shown.show(ledger)
    const { state } = await ledger.store.state()
    const first = state?.checkpoint
    await ledger.grow(3)
    await shown.show(ledger)
    await shown.show(ledger)
    const home = join(folder, createHash('sha256').update(origin).digest('hex'))
    expect(readdirSync(home)).toEqual(['0000000000000002', '0000000000000005'])
    expect(readFileSync(join(home, '0000000000000002'), 'utf8')).toBe(first)
  })

  it('has a checkpoint whole or not at all, at any moment', async () => {
    const folder = join(dir, 'whole', 'of')
    mkdirSync(folder, { recursive: true })
    const text = 'x'.repeat(60_000)
    // Another process looks all the time.
    const look = `const { readdirSync, statSync } = require('node:fs')
      const seen = new Set()
      console.log('looks')
      for (;;)
        for (const name of readdirSync(${JSON.stringify(folder)}))
          if (!name.startsWith('.') && !seen.has(name)) {
            if (statSync(${JSON.stringify(folder)} + '/' + name).size !== ${text.length}) { console.log('half'); process.exit() }
            seen.add(name)
            if (name === 'last') process.exit()
          }`
    const looking = spawn(process.execPath, ['-e', look], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = once(looking, 'exit')
    let said = ''
    looking.stdout.on('data', (part) => {
      said += part
    })
    await expect.poll(() => said).toBe('looks\n')
    const shelf = folderShelf(join(dir, 'whole'))
    const names = [...Array.from({ length: 500 }, (_, i) => String(i)), 'last']
    for (const name of names) expect(await shelf.put('of', name, text)).toBe(text)
    await ended
    expect(said).toBe('looks\n')
    expect(await shelf.put('of', '0', 'another')).toBe(text)
    expect(readdirSync(folder)).toHaveLength(names.length)
  })

  it('says where a ledger of this size was another, or a longer one was seen', async () => {
    const witness = shelfWitness(folderShelf(join(dir, 'other')))
    const shown = { origin, size: 1, proofFrom: async () => [] }
    const note = (letter: string) => `${origin}\n1\n${letter.repeat(43)}=\n\n— a AAAAAAAA\n`
    await witness.show({ ...shown, checkpoint: note('A') })
    await witness.show({ ...shown, checkpoint: `${note('A')}— b AAAAAAAA\n` })
    await expect(witness.show({ ...shown, checkpoint: note('E') })).rejects.toMatchObject({ code: 'ledger.corrupt' })
    const later = shelfWitness(folderShelf(join(dir, 'other')))
    const none = { ...shown, size: 0, checkpoint: note('A').replace('\n1\n', '\n0\n') }
    await expect(later.show(none)).rejects.toThrow('has seen 1 leaves, and here are 0')
  })
})

describe('witnesses', () => {
  it('are shown the last checkpoint before a worker ends, though its turn comes later', async () => {
    const ledger = new TestLedger()
    const list = [httpWitness(url, witnessKey.vkey)]
    const witnesses = new Witnesses({
      heads,
      ledgers,
      witnesses: list,
      log: pino({ level: 'silent' }),
      everyMs: 60_000,
    })
    await ledger.grow(2)
    witnesses.show(ledger.tenant)
    await witnesses.settled()
    await ledger.grow(2)
    witnesses.show(ledger.tenant)
    expect(await ledger.verified()).toEqual([both[0]])
    await witnesses.close()
    expect(await ledger.verified()).toEqual(both)
  })

  it('are shown what a worker that died has left, and what was refused is left', async () => {
    const ledger = new TestLedger()
    await ledger.grow(2)
    await heads.toWitness(ledger.tenant, 2)
    const options = { heads, ledgers, witnesses: [httpWitness(url, witnessKey.vkey)], log: pino({ level: 'silent' }) }
    witness.down = true
    const first = new Witnesses(options)
    first.show(ledger.tenant)
    await first.settled()
    expect(await heads.unwitnessed()).toContain(ledger.tenant)
    witness.down = false
    const second = new Witnesses(options)
    second.start()
    await vi.waitFor(async () => expect(await heads.unwitnessed()).not.toContain(ledger.tenant), 20_000)
    await second.close()
    expect(await ledger.verified()).toEqual(both)
  })
})
