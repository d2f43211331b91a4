import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { StringDecoder } from 'node:string_decoder'

/** A longer line is none that an export has, characters. */
const LINE_MAX = 1 << 26
/** A manifest of millions of files has half of that. */
const FILE_MAX = 1 << 28
const PIECE = 1 << 20

/** Files in an export, or in a folder of it, in order. Whatever else lies there, links too, is for `verifyExport` to tell of. */
export function filesIn(folder: string, below = ''): string[] {
  const path = join(folder, below)
  try {
    if (!lstatSync(path).isDirectory()) return []
    return readdirSync(path, { withFileTypes: true })
      .flatMap((entry) => (entry.isFile() ? join(path, entry.name) : []))
      .sort()
  } catch {
    return []
  }
}

/** Lines of a file of any length; undefined for one that is too long, and where the file cannot be read on. */
export function* linesOf(file: string): Generator<string | undefined> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  for (const piece of piecesOf(file)) {
    if (!piece) {
      yield undefined
      return
    }
    const lines = (rest + decoder.write(piece)).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
    if (rest.length > LINE_MAX) {
      yield undefined
      return
    }
  }
  if (rest !== '') yield rest
}

/** A file as a whole; undefined where it cannot be read. */
export function textOf(file: string): string | undefined {
  const pieces: Uint8Array[] = []
  let length = 0
  for (const piece of piecesOf(file)) {
    length += piece?.length ?? 0
    if (!piece || length > FILE_MAX) return undefined
    pieces.push(Uint8Array.from(piece))
  }
  return Buffer.concat(pieces).toString()
}

/** Undefined for what is no JSON. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Each is gone when the next one comes. Nothing is waited for: something else may have taken the file's place. */
function* piecesOf(path: string): Generator<Uint8Array | undefined> {
  const piece = Buffer.alloc(PIECE)
  let file: number | undefined
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    if (!fstatSync(file).isFile()) throw new Error('it is no file')
    for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) yield piece.subarray(0, read)
  } catch {
    yield undefined
  } finally {
    if (file !== undefined) closeSync(file)
  }
}
