import { randomUUID } from 'node:crypto'
import { appendFile, link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { TILE_WIDTH } from '@muster/audit'
import { type LedgerState, type LedgerStore, type Ledgers, placePart, placesByPart } from '@muster/memory'
import { MusterError } from '@muster/protocol'

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
  // Folders of a month and a half.
  const partFile = (part: string) => join(home, '.leaf', part.slice(0, 4), part.slice(4))

  const newest = async (): Promise<{ version: number; state: LedgerState | undefined }> => {
    for (;;) {
      const version = newestOf(await numbersIn(states))
      if (version === 0) return { version, state: undefined }
      const bytes = await readIfThere(join(states, String(version)))
      // It was replaced meanwhile, often.
      if (bytes) return { version, state: readState(bytes, states) }
    }
  }

  /** Whoever comes last puts down what is newest by then. */
  const publish = async (version: number, { checkpoint }: LedgerState): Promise<void> => {
    const file = join(home, 'checkpoint')
    if (checkpoint !== '' && (await readIfThere(file))?.toString() !== checkpoint)
      await replace(file, Buffer.from(checkpoint))
    if (newestOf(await numbersIn(states)) === version) return
    const now = await newest()
    if (now.state) await publish(now.version, now.state)
  }

  return {
    read: (path) => readIfThere(join(home, path)),

    async write(tiles) {
      const writes = tiles.map(async ({ path, bytes, width, stored }) => {
        if (stored === width) return
        const file = join(home, path)
        await replace(file, bytes)
        // Partial tiles are not needed once the full one is there.
        if (stored > 0 && width === TILE_WIDTH) await rm(`${file}.p`, { recursive: true, force: true })
      })
      await Promise.all(writes)
    },

    state: newest,

    async setState(version, state) {
      // What an older version wrote after a newer one was cleaned up would be the newest no more.
      const before = await numbersIn(states)
      if (newestOf(before) !== version) return false
      const { pending, ...rest } = state
      const draft = await writeDraft(
        join(states, '.new'),
        Buffer.concat([Buffer.from(`${JSON.stringify(rest)}\n`), pending]),
      )
      try {
        await link(draft, join(states, String(version + 1)))
      } catch (error) {
        if (isCode(error, 'EEXIST')) return false
        throw error
      } finally {
        await rm(draft, { force: true })
      }
      await Promise.all([publish(version + 1, state), forgetOld(states, before)])
      return true
    },

    async place(run, size) {
      const lines = (await readIfThere(partFile(placePart(run))))?.toString().split('\n') ?? []
      const places = lines
        .filter((line) => line.startsWith(`${run} `))
        .map((line) => Number(line.slice(run.length + 1)))
      return places.filter((index) => index < size).reduce<number | undefined>((a, b) => Math.max(a ?? b, b), undefined)
    },

    async setPlaces(from, runs) {
      const writes = [...placesByPart(from, runs)].map(([part, places]) =>
        // A line begins anew, since the one before may have broken off. What stands twice does no harm.
        inFolder(partFile(part), (file) =>
          appendFile(file, `\n${places.map(([run, index]) => `${run} ${index}`).join('\n')}\n`, { flush: true }),
        ),
      )
      await Promise.all(writes)
    },
  }
}

function newestOf(versions: readonly number[]): number {
  return versions.reduce((a, b) => Math.max(a, b), 0)
}

/** A line of JSON, and what comes next in the bytes after it. */
function readState(bytes: Buffer, where: string): LedgerState {
  const end = bytes.indexOf('\n')
  if (end < 0) throw new MusterError('ledger.corrupt', `the newest file in ${where} is no state of a ledger`)
  const rest: Omit<LedgerState, 'pending'> = JSON.parse(bytes.toString('utf8', 0, end))
  return { ...rest, pending: bytes.subarray(end + 1) }
}

async function forgetOld(states: string, versions: readonly number[]): Promise<void> {
  // The oldest first, and none more once one is young: they were written in this order.
  for (const one of versions.toSorted((a, b) => a - b)) {
    const file = join(states, String(one))
    const written = await stat(file).catch(() => undefined)
    if (written && Date.now() - written.mtimeMs < STATE_KEPT_MS) return
    await rm(file, { force: true })
  }
}

/** Puts a file in place as a whole. */
async function replace(file: string, bytes: Uint8Array): Promise<void> {
  await rename(await writeDraft(join(dirname(file), '.new'), bytes), file)
}

/** A new file whose name begins so, to be put in place as a whole; gives its name. */
export async function writeDraft(prefix: string, bytes: Uint8Array): Promise<string> {
  const draft = `${prefix}-${randomUUID()}`
  const file = await inFolder(draft, (path) => open(path, 'wx'))
  try {
    await file.writeFile(bytes)
    await file.datasync()
  } finally {
    await file.close()
  }
  return draft
}

/** Makes the folder that a file is to be in where it is not there yet. */
async function inFolder<T>(file: string, write: (file: string) => Promise<T>): Promise<T> {
  try {
    return await write(file)
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error
    await mkdir(dirname(file), { recursive: true })
    return write(file)
  }
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
  return (await namesIn(folder)).filter((name) => /^\d+$/.test(name)).map(Number)
}

/** What lies in a folder; nothing where it is not there. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return []
    throw error
  }
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
