import { createHash, type Hash } from 'node:crypto'
import { createWriteStream, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { TileStorage } from '@muster/audit'
import { MusterError } from '@muster/protocol'

/** A folder that is written once, with the hash of each file. */
export class Folder {
  readonly hashes = new Map<string, string>()
  readonly #path: string

  /** @throws MusterError `config.invalid` where it has anything in it */
  constructor(path: string) {
    if (existsSync(path) && readdirSync(path).length > 0)
      throw new MusterError('config.invalid', `${path} is not empty: an export is written into a folder of its own`)
    mkdirSync(path, { recursive: true, mode: 0o700 })
    this.#path = path
  }

  /** Writes a file as its pieces come. */
  async write(
    name: string,
    pieces: Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>,
  ): Promise<string> {
    const file = join(this.#path, name)
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    const hash = createHash('sha256')
    // What is copied again takes the place of what was copied before.
    if (this.hashes.has(name)) await rm(file)
    await pipeline(Readable.from(hashed(pieces, hash)), createWriteStream(file, { flags: 'wx', mode: 0o600 }))
    const digest = hash.digest('hex')
    this.hashes.set(name, digest)
    return digest
  }

  async remove(name: string): Promise<void> {
    this.hashes.delete(name)
    await rm(join(this.#path, name))
  }

  read(name: string): Promise<Uint8Array> {
    return readFile(join(this.#path, name))
  }
}

async function* hashed(
  pieces: Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>,
  hash: Hash,
): AsyncGenerator<string | Uint8Array> {
  for await (const piece of pieces) {
    hash.update(piece)
    yield piece
  }
}

/** Tiles as the server has them; each that is read is in the export from then on. */
export function copiedTiles(folder: Folder, server: TileStorage): TileStorage {
  const underWay = new Map<string, Promise<Uint8Array | undefined>>()
  const copy = async (path: string) => {
    const bytes = await server.read(path)
    if (bytes) await folder.write(path, [bytes])
    return bytes
  }
  return {
    async read(path) {
      const copying = underWay.get(path)
      if (copying) return copying
      if (folder.hashes.has(path)) return folder.read(path)
      const begun = copy(path).finally(() => underWay.delete(path))
      underWay.set(path, begun)
      return begun
    },
    write: () => Promise.reject(new Error('it is only read')),
  }
}
