import { randomUUID } from 'node:crypto'
import { appendFile, link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type LedgerState, type LedgerStore, type Ledgers, placePart, placesByPart } from '@muster/memory'

/** How long a state is kept that is not the newest: its name must be taken for as long as a late writer may want it, ms. */
const STATE_KEPT_MS = 10 * 60_000

/**
 * Ledgers as files, each under its tenant's name. What any web server needs to serve one is `checkpoint` and `tile/`;
 * names that begin with a dot are its own.
 */
export function folderLedgers(folder: string): Ledgers {
  return (tenant) => folderLedger(join(folder, fileName(tenant)))
}

/** No name reaches another folder, or one of the ledger's own. */
function fileName(name: string): string {
  return encodeURIComponent(name.toWellFormed()).replaceAll('.', '%2E').replaceAll('*', '%2A') || '%'
}

function folderLedger(home: string): LedgerStore {
  const states = join(home, '.state')
  const part = (number: number) => join(home, '.leaf', String(number))

  const newest = async (): Promise<{ version: number; state: LedgerState | undefined }> => {
    for (;;) {
      const version = Math.max(0, ...(await numbersIn(states)))
      if (version === 0) return { version, state: undefined }
      const text = await readIfThere(join(states, String(version)))
      // It was replaced meanwhile, often.
      if (!text) continue
      const state: LedgerState = JSON.parse(text.toString())
      return { version, state }
    }
  }

  /** Whoever comes last puts down what is newest by then. */
  const publish = async (version: number, { checkpoint }: LedgerState): Promise<void> => {
    if (checkpoint !== '') await replace(join(home, 'checkpoint'), Buffer.from(checkpoint))
    const now = await newest()
    if (now.version !== version && now.state) await publish(now.version, now.state)
  }

  return {
    read: (path) => readIfThere(join(home, path)),

    async write(path, bytes) {
      const file = join(home, path)
      await replace(file, bytes)
      // Partial tiles are not needed once the full one is there.
      if (!path.includes('.p/')) await rm(`${file}.p`, { recursive: true, force: true })
    },

    state: newest,

    async setState(version, state) {
      await mkdir(states, { recursive: true })
      // What an older version wrote after a newer one was cleaned up would be the newest no more.
      if ((await newest()).version !== version) return false
      const draft = await writeDraft(join(states, '.new'), Buffer.from(JSON.stringify(state)))
      try {
        await link(draft, join(states, String(version + 1)))
      } catch (error) {
        if (isCode(error, 'EEXIST')) return false
        throw error
      } finally {
        await rm(draft, { force: true })
      }
      await publish(version + 1, state)
      await forgetOld(states, version)
      return true
    },

    async place(run, size) {
      const lines = (await readIfThere(part(placePart(run))))?.toString().split('\n') ?? []
      const places = lines
        .filter((line) => line.startsWith(`${run} `))
        .map((line) => Number(line.slice(run.length + 1)))
      return places.filter((index) => index < size).reduce<number | undefined>((a, b) => Math.max(a ?? b, b), undefined)
    },

    async setPlaces(from, runs) {
      await mkdir(join(home, '.leaf'), { recursive: true })
      const writes = [...placesByPart(from, runs)].map(([number, places]) =>
        // A line begins anew, since the one before may have broken off. What stands twice does no harm.
        appendFile(part(number), `\n${places.map(([run, index]) => `${run} ${index}`).join('\n')}\n`, { flush: true }),
      )
      await Promise.all(writes)
    },
  }
}

async function forgetOld(states: string, version: number): Promise<void> {
  // The oldest first, and none more once one is young: they were written in this order.
  for (const one of (await numbersIn(states)).filter((one) => one < version).sort((a, b) => a - b)) {
    const file = join(states, String(one))
    const { mtimeMs } = await stat(file)
    if (Date.now() - mtimeMs < STATE_KEPT_MS) return
    await rm(file, { force: true })
  }
}

/** Puts a file in place as a whole. */
async function replace(file: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await rename(await writeDraft(join(dirname(file), '.new'), bytes), file)
}

async function writeDraft(prefix: string, bytes: Uint8Array): Promise<string> {
  const draft = `${prefix}-${randomUUID()}`
  const file = await open(draft, 'wx')
  try {
    await file.writeFile(bytes)
    await file.datasync()
  } finally {
    await file.close()
  }
  return draft
}

async function readIfThere(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}

async function numbersIn(folder: string): Promise<number[]> {
  try {
    return (await readdir(folder)).filter((name) => /^\d+$/.test(name)).map(Number)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return []
    throw error
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
