import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { newVerifier, TileLog } from '@muster/audit'
import type { LedgerLeaf } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { verifyExport } from '@muster/verify'
import { Redis } from 'ioredis'
import type { Deployment } from './deployment.ts'

const cli = fileURLToPath(new URL('../../../apps/cli/src/main.ts', import.meta.url))
const ORIGIN = 'faults.example'
const LOOK_MS = 100

/** A key of a ledger, and what workers are told of it. */
export function newLedger(dir: string, tenant: string): { vkey: string; env: NodeJS.ProcessEnv } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const file = join(dir, 'ledger.pem')
  writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  const { x = '' } = publicKey.export({ format: 'jwk' })
  return {
    vkey: newVerifier(`${ORIGIN}/${tenant}`, Buffer.from(x, 'base64url')).vkey,
    env: { MUSTER_LEDGER_KEY_FILE: file, MUSTER_LEDGER_ORIGIN: ORIGIN, MUSTER_LEDGER_HEADS_MS: '200' },
  }
}

/** Keeps each checkpoint that there is while things go wrong, as a witness would. */
export class Onlooker {
  readonly seen = new Set<string>()
  readonly #over = new AbortController()
  readonly #looking: Promise<void>

  constructor(muster: Muster) {
    this.#looking = this.#look(muster)
  }

  async #look(muster: Muster): Promise<void> {
    while (!this.#over.signal.aborted) {
      // There is none yet, or the server is away.
      const head = await muster.ledger.head().catch(() => undefined)
      if (head) this.seen.add(head.checkpoint)
      await sleep(LOOK_MS, undefined, { signal: this.#over.signal }).catch(() => {})
    }
  }

  async close(): Promise<void> {
    this.#over.abort()
    await this.#looking
  }
}

/**
 * What is wrong with the ledger once every run has ended: an auditor's export must verify, begin with every checkpoint that
 * was ever seen, and have each run's end once.
 */
export async function checkLedger(
  deployment: Deployment,
  { seen, runs, withinMs }: { seen: ReadonlySet<string>; runs: Iterable<string>; withinMs: number },
): Promise<string[]> {
  const waiting = await unsealed(deployment, withinMs)
  if (waiting > 0) return [`heads of ${waiting} partitions were not in the ledger within ${withinMs} ms`]
  const folder = join(deployment.dir, 'export')
  await promisify(execFile)(process.execPath, [cli, 'audit', 'export', '--to', folder], { env: deployment.clientEnv })
  const older = [...seen].map((checkpoint, i) => {
    const file = join(deployment.dir, `checkpoint-${i}`)
    writeFileSync(file, checkpoint)
    return file
  })
  const { findings, size = 0 } = verifyExport(folder, { keys: [deployment.vkey], older })
  const { unsealed: outside, missing } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'))
  return [
    ...findings.map(({ file, message }) => `the ledger: ${file}: ${message}`),
    ...[...outside, ...missing].map((run) => `the ledger or the server does not have run ${run}`),
    ...checkLeaves(await leavesIn(folder, size), runs),
  ]
}

/** Partitions that still have heads when the time is over. */
async function unsealed({ redisUrl, namespace, partitions }: Deployment, withinMs: number): Promise<number> {
  const redis = new Redis(redisUrl)
  try {
    for (const end = performance.now() + withinMs; ; await sleep(200)) {
      const keys = Array.from({ length: partitions }, (_, i) => `{${namespace}${i}}:unsealed`)
      const left = (await Promise.all(keys.map((key) => redis.zcard(key)))).filter((count) => count > 0).length
      if (left === 0 || performance.now() > end) return left
    }
  } finally {
    redis.disconnect()
  }
}

async function leavesIn(folder: string, size: number): Promise<LedgerLeaf[]> {
  const read = async (path: string) => readFileSync(join(folder, path))
  const log = new TileLog({ read, write: () => Promise.reject(new Error('it is only read')) })
  const leaves: LedgerLeaf[] = []
  for (let bundle = 0; bundle * 256 < size; bundle++)
    for (const leaf of await log.entries(bundle, size)) leaves.push(JSON.parse(Buffer.from(leaf).toString()))
  return leaves
}

function checkLeaves(leaves: readonly LedgerLeaf[], runs: Iterable<string>): string[] {
  const counts = new Map<string, number>()
  for (const { run, seq, state } of leaves) {
    const key = state === 'ended' ? `the end of run ${run}` : `run ${run} at entry ${seq}, ${state},`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return [
    ...[...counts].filter(([, count]) => count > 1).map(([key, count]) => `${key} is in the ledger ${count} times`),
    ...[...runs].flatMap((run) => (counts.has(`the end of run ${run}`) ? [] : [`the end of run ${run} is not sealed`])),
  ]
}
