import { hash } from 'node:crypto'
import { bytesOf, numberOf, textOf } from './item.ts'
import { partition, sort } from './key.ts'
import { pack, unpack } from './packed.ts'
import type { Table } from './table.ts'

/** What a tenant's ledger has come to: what decides who appends, and what. */
export interface LedgerState {
  /** Leaves in the tiles. */
  size: number
  /** Their root, base64. */
  root: string
  /** Leaves that come next: they are decided, and may be in the tiles already. */
  pending: string[]
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
  write(path: string, bytes: Uint8Array): Promise<void>
  /** Version 0 where there is none yet. */
  state(): Promise<{ version: number; state: LedgerState | undefined }>
  /** Replaces the state of this version; false where another was first. */
  setState(version: number, state: LedgerState): Promise<boolean>
  /** The place of a run's newest leaf among the first `size`. */
  place(run: string, size: number): Promise<number | undefined>
  /** Of which runs the leaves from `from` on are, so that they are found. */
  setPlaces(from: number, runs: readonly string[]): Promise<void>
}

/** Leaves are found by run in so many parts: few enough that a batch writes little, enough that a part is read at once. */
const PLACE_PARTS = 16

/** The part that a run's leaves are found in. */
export function placePart(run: string): number {
  return Number.parseInt(hash('sha256', run).slice(0, 4), 16) % PLACE_PARTS
}

/** What is kept of leaves from `from` on, by part: each run with the place of its last. */
export function placesByPart(from: number, runs: readonly string[]): Map<number, [run: string, index: number][]> {
  const newest = new Map(runs.map((run, i) => [run, from + i]))
  return Map.groupBy(newest, ([run]) => placePart(run))
}

/** Each tenant's ledger. */
export type Ledgers = (tenant: string) => LedgerStore

const PARTIAL = /\.p\/(\d+)$/
const FULL = 256

/*
 * A partial tile is the beginning of every wider one of its place, so that a place has one item, which only grows: nothing
 * has to be cleaned up, and a writer that comes late takes nothing back.
 */
export function openLedgers(table: Table): Ledgers {
  return (tenant) => {
    const stateKey = { pk: partition(tenant, 'LEDGER'), sk: sort('STATE') }
    const tileKey = (path: string) => ({ pk: partition(tenant, 'TILE', path.replace(PARTIAL, '')), sk: sort('TILE') })
    const partKey = (part: number) => partition(tenant, 'PLACES', String(part))
    return {
      async read(path) {
        const { pk, sk } = tileKey(path)
        const item = await table.get(pk, sk)
        return item && bytesOf(item, 'content')
      },

      async write(path, bytes) {
        const width = Number(PARTIAL.exec(path)?.[1] ?? FULL)
        await table.raise({ ...tileKey(path), content: bytes, width }, 'width', width)
      },

      async state() {
        const item = await table.get(stateKey.pk, stateKey.sk)
        if (!item) return { version: 0, state: undefined }
        return { version: numberOf(item, 'version'), state: await unpack<LedgerState>(bytesOf(item, 'content')) }
      },

      async setState(version, state) {
        const item = { ...stateKey, version: version + 1, content: await pack(state) }
        return version === 0 ? table.create(item) : table.replace(item, 'version', version)
      },

      async place(run, size) {
        // The newest first: what is asked for is mostly young.
        const sk = { below: sort('PLACE', size) }
        for await (const item of table.query({ pk: partKey(placePart(run)), sk, descending: true })) {
          const places: Record<string, number> = JSON.parse(textOf(item, 'places'))
          const index = Object.hasOwn(places, run) ? places[run] : undefined
          if (index !== undefined && index < size) return index
        }
        return undefined
      },

      async setPlaces(from, runs) {
        const writes = [...placesByPart(from, runs)].map(([part, places]) =>
          table.put({ pk: partKey(part), sk: sort('PLACE', from), places: JSON.stringify(Object.fromEntries(places)) }),
        )
        await Promise.all(writes)
      },
    }
  }
}
