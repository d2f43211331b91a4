import { TILE_WIDTH, type TileFile, tileOfBundle } from '@muster/audit'
import { isId } from '@muster/protocol'
import { bytesOf, type Item, numberOf, textOf } from './item.ts'
import { partition, sort } from './key.ts'
import { squeeze, unsqueeze } from './packed.ts'
import type { Table } from './table.ts'

/** What a tenant's ledger has come to: what decides who appends, and what. */
export interface LedgerState {
  /** Leaves in the tiles. */
  size: number
  /** Their root, base64. */
  root: string
  /** Leaves that come next, as an entry bundle: they are decided, and may be in the tiles already. */
  pending: Uint8Array
  /** Up to where heads were taken, by partition. */
  cursors: Record<string, string>
  /** The last signed checkpoint; '' before the first. */
  checkpoint: string
  /** Keys that signed it, as vkeys. */
  keys: string[]
}

/** Where one tenant's ledger is. Everything but its state may be written again, and by several at once: they write the same. */
export interface LedgerStore {
  /** A tile or entry bundle by its path. One that is partial may be given wider than asked for. */
  read(path: string): Promise<Uint8Array | undefined>
  write(tiles: readonly TileFile[], size: number): Promise<void>
  /** Version 0 where there is none yet. */
  state(): Promise<{ version: number; state: LedgerState | undefined }>
  /** Replaces the state of this version; false where another was first. */
  setState(version: number, state: LedgerState): Promise<boolean>
  /** The place of a run's newest leaf among the first `size`. */
  place(run: string, size: number): Promise<number | undefined>
  /** Of which runs the leaves from `from` on are, so that they are found. */
  setPlaces(from: number, runs: readonly string[]): Promise<void>
}

/**
 * Leaves are found by runs of one time: the ids of those that were created within 65 seconds begin with the same digits. So
 * most leaves of a batch stand together, and who looks for a run reads what is of its time, however long the ledger is.
 */
export function placePart(run: string): string {
  return isId(run) ? run.slice(0, 8) : '00000000'
}

/** What is kept of leaves from `from` on, by part: of which run each is, in their order. */
export function placesByPart(from: number, runs: readonly string[]): Map<string, [run: string, index: number][]> {
  return Map.groupBy(
    runs.map((run, i): [string, number] => [run, from + i]),
    ([run]) => placePart(run),
  )
}

/** Each tenant's ledger. */
export type Ledgers = (tenant: string) => LedgerStore

const PARTIAL = /\.p\/(\d+)$/
const BUNDLE = /^tile\/entries\//
const LOWEST = /^tile\/0\//

/*
 * A full tile is an item that never changes. The partial ones of a tree are in one item together, which is replaced by that
 * of a larger tree only: a partial tile is the beginning of every wider one of its place, so that nothing has to be cleaned
 * up, and a writer that comes late takes nothing back. Tiles of the lowest level are not stored: they are the hashes of the
 * entries in the bundle of the same place, and half of all items, whose bytes do not get fewer when they are compressed.
 */
export function openLedgers(table: Table): Ledgers {
  return (tenant) => {
    const stateKey = { pk: partition(tenant, 'LEDGER'), sk: sort('STATE') }
    const edgeKey = { pk: partition(tenant, 'LEDGER'), sk: sort('EDGE') }
    const tileKey = (path: string) => ({ pk: partition(tenant, 'TILE', path.replace(PARTIAL, '')), sk: sort('TILE') })
    const partKey = (part: string) => partition(tenant, 'PLACES', part)
    let reading: Promise<Item | undefined> | undefined
    /** Those who read at once share it. */
    const edge = (): Promise<Item | undefined> => {
      reading ??= table.get(edgeKey.pk, edgeKey.sk).finally(() => {
        reading = undefined
      })
      return reading
    }
    const read = async (path: string): Promise<Uint8Array | undefined> => {
      if (LOWEST.test(path)) {
        const bundle = await read(path.replace(LOWEST, 'tile/entries/'))
        return bundle && tileOfBundle(bundle)
      }
      const place = path.replace(PARTIAL, '')
      const partial = place === path ? undefined : await edge()
      const isPartial = partial?.[place] !== undefined
      // Else it is full by now, or not there.
      const { pk, sk } = tileKey(path)
      const item = isPartial ? partial : await table.get(pk, sk)
      const content = item && bytesOf(item, isPartial ? place : 'content')
      return content && BUNDLE.test(path) ? unsqueeze(content) : content
    }
    return {
      read,

      async write(tiles, size) {
        const full: Item[] = []
        const partial: Item = { ...edgeKey, size }
        for (const { path, bytes, width } of tiles) {
          if (LOWEST.test(path)) continue
          // Of hashes nothing can be saved.
          const content = BUNDLE.test(path) ? squeeze(bytes) : bytes
          if (width === TILE_WIDTH) full.push({ ...tileKey(path), content })
          else partial[path.replace(PARTIAL, '')] = content
        }
        // What is partial no more must be there before its partial one goes.
        await table.putAll(full)
        await table.raise(partial, 'size', size)
      },

      async state() {
        const item = await table.get(stateKey.pk, stateKey.sk)
        if (!item) return { version: 0, state: undefined }
        const rest: Omit<LedgerState, 'pending'> = JSON.parse(textOf(item, 'state'))
        const state = { ...rest, pending: unsqueeze(bytesOf(item, 'pending')) }
        return { version: numberOf(item, 'version'), state }
      },

      async setState(version, { pending, ...rest }) {
        const content = { state: JSON.stringify(rest), pending: squeeze(pending) }
        const item = { ...stateKey, version: version + 1, ...content }
        return version === 0 ? table.create(item) : table.replace(item, 'version', version)
      },

      async place(run, size) {
        // The newest first: what is asked for is mostly young.
        const sk = { below: sort('PLACE', size) }
        for await (const item of table.query({ pk: partKey(placePart(run)), sk, descending: true })) {
          const bytes = Buffer.from(unsqueeze(bytesOf(item, 'places')))
          const places: [run: string, index: number][] = JSON.parse(bytes.toString())
          const found = places.findLast(([one, index]) => one === run && index < size)
          if (found) return found[1]
        }
        return undefined
      },

      async setPlaces(from, runs) {
        const items = [...placesByPart(from, runs)].map(([part, places]) => ({
          ...{ pk: partKey(part), sk: sort('PLACE', from) },
          places: squeeze(Buffer.from(JSON.stringify(places))),
        }))
        await table.putAll(items)
      },
    }
  }
}
