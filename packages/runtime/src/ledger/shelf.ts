import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { link, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseCheckpoint, parseNote } from '@muster/audit'
import { MusterError } from '@muster/protocol'
import { isCode, namesIn, writeDraft } from './folder.ts'
import { textOf } from './text-of.ts'
import type { Witness } from './witness.ts'

/** A place elsewhere that keeps every checkpoint under a name of its own, the first that came. */
export interface Shelf {
  name: string
  /** Puts it there where nothing is, and gives what is there by then. */
  put(folder: string, file: string, text: string): Promise<string>
  /** All that was ever put there, by its name, after that of `after`. */
  list(folder: string, after?: string): AsyncIterable<Kept>
}

interface Kept {
  file: string
  read(): Promise<string>
}

/** A witness that signs nothing: what it has is read there. */
export function shelfWitness(shelf: Shelf): Witness {
  /** What was seen there of each ledger. */
  const sizes = new Map<string, number>()
  return {
    name: shelf.name,
    async show({ origin, size, checkpoint }) {
      const [folder, file] = [folderOf(origin), fileOf(size)]
      const kept = await shelf.put(folder, file, checkpoint)
      if (parseNote(kept)?.text !== parseNote(checkpoint)?.text)
        throw new MusterError(
          'ledger.corrupt',
          `${shelf.name} has another ledger of ${size} leaves (${folder}/${file})`,
        )
      const seen = sizes.get(origin) ?? (await sizeAfter(shelf, folder, file))
      if (seen > size)
        throw new MusterError('ledger.corrupt', `${shelf.name} has seen ${seen} leaves, and here are ${size}`)
      sizes.set(origin, size)
      return []
    },
  }
}

async function sizeAfter(shelf: Shelf, folder: string, after: string): Promise<number> {
  for await (const { file } of shelf.list(folder, after)) return Number(file)
  return 0
}

/** The checkpoints of a ledger that were put on a shelf, in their order. */
export async function* checkpointsOn(
  shelf: Shelf,
  origin: string,
): AsyncGenerator<{ file: string; note: string; size: number | undefined }> {
  for await (const { file, read } of shelf.list(folderOf(origin))) {
    const note = await read()
    const checkpoint = parseCheckpoint(parseNote(note)?.text ?? '')
    yield { file, note, size: checkpoint?.size }
  }
}

function folderOf(origin: string): string {
  return createHash('sha256').update(origin).digest('hex')
}

/** Such that names are in the order of sizes. */
function fileOf(size: number): string {
  return String(size).padStart(16, '0')
}

/** How names begin of what is not in place yet. */
const DRAFT = '.new'

/** A folder, such as one that can only be added to, on a file system with hard links. */
export function folderShelf(path: string): Shelf {
  return {
    name: path,
    async put(folder, file, text) {
      const full = join(path, folder, file)
      const draft = await writeDraft(join(path, folder, DRAFT), Buffer.from(text))
      try {
        await link(draft, full)
        return text
      } catch (error) {
        if (!isCode(error, 'EEXIST')) throw error
        return await readFile(full, 'utf8')
      } finally {
        // Where the folder can only be added to, it stays.
        await rm(draft).catch(() => {})
      }
    },
    async *list(folder, after = '') {
      for (const file of (await namesIn(join(path, folder)))
        .filter((name) => name > after && !name.startsWith(DRAFT))
        .sort())
        yield { file, read: () => textOf(createReadStream(join(path, folder, file)), path) }
    },
  }
}
