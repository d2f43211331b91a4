import { type Json, MusterError } from '@muster/protocol'
import type { ContentKeys } from './content-keys.ts'
import { bytesOf, type Item, numberOf, textOf, textsOf } from './item.ts'
import { partition, sort } from './key.ts'
import { pack, unpack } from './packed.ts'
import { PIECE_BYTES_MAX } from './pieces.ts'
import { seal, unseal } from './sealed.ts'
import type { Table } from './table.ts'

/** What one run added to a conversation. */
export interface Turn {
  /** The run's id. */
  run: string
  /** Milliseconds since the Unix epoch. */
  at: number
  messages: Json[]
  labels: string[]
}

/** Conversations that last across runs. */
export interface Sessions {
  /**
   * The turns in order, all or the `last` ones. `version` is the number of all turns; 0 for a session that nobody has
   * written.
   *
   * @throws MusterError `memory.unavailable`
   */
  read(tenant: string, session: string, options?: { last?: number }): Promise<{ version: number; turns: Turn[] }>
  /**
   * Appends a turn after `version` turns and gives the new version; `whose` is the subject that it is about. The same run at the same version again succeeds and
   * changes nothing.
   *
   * @throws MusterError `memory.conflict` where the session does not have exactly `version` turns; `memory.too_large` where
   *   the messages take over 350 KB compressed; `memory.unavailable`
   */
  append(tenant: string, session: string, version: number, turn: Turn, whose?: string): Promise<number>
  /** Takes out the messages of the turns that a run has added. Gives how many turns it has. */
  erase(tenant: string, session: string, run: string): Promise<number>
}

/** Messages are sealed by the key of the subject, which outlives the run. A turn without a `key` is from before there were keys. */
export function openSessions(table: Table, keys: ContentKeys): Sessions {
  const turnOf = async (tenant: string, session: string, item: Item): Promise<Turn> => ({
    run: textOf(item, 'run'),
    at: numberOf(item, 'at'),
    messages: await messagesOf(tenant, session, item),
    labels: textsOf(item, 'labels'),
  })

  /** None where they were erased. */
  async function messagesOf(tenant: string, session: string, item: Item): Promise<Json[]> {
    if (item.messages === undefined) return []
    const bytes = bytesOf(item, 'messages')
    if (item.key === undefined) return unpack<Json[]>(bytes)
    const key = await keys.find(tenant, textOf(item, 'key'))
    return key ? unpack<Json[]>(unseal(key, placeOf(tenant, session, item), bytes)) : []
  }

  return {
    async read(tenant, session, { last = Number.POSITIVE_INFINITY } = {}) {
      const items: Item[] = []
      let version = 0
      // The newest item tells the version, so that one is read even for the last 0.
      const page = Number.isFinite(last) ? { page: Math.max(1, last) } : {}
      for await (const item of table.query({ pk: partition(tenant, 'SESSION', session), descending: true, ...page })) {
        if (version === 0) version = numberOf(item, 'version')
        if (items.length < last) items.push(item)
        if (items.length >= last) break
      }
      return { version, turns: await Promise.all(items.reverse().map((item) => turnOf(tenant, session, item))) }
    },

    async append(tenant, session, version, turn, whose) {
      if (!Number.isSafeInteger(version) || version < 0) throw conflict(session, version)
      const pk = partition(tenant, 'SESSION', session)
      const next = version + 1
      const messages = await pack(turn.messages)
      if (messages.length > PIECE_BYTES_MAX) {
        const detail = `The turn takes ${messages.length} bytes compressed; at most ${PIECE_BYTES_MAX} are possible`
        throw new MusterError('memory.too_large', detail)
      }
      // A turn is never removed, so that the one before still stands when the condition below is checked: no gaps.
      if (version > 0 && !(await table.get(pk, sort('TURN', version)))) throw conflict(session, version)
      const { run, at, labels } = turn
      const { name, key } = await keys.current(tenant, whose)
      const item = { pk, sk: sort('TURN', next), version: next, run, at, labels, key: name }
      const sealed = seal(key, placeOf(tenant, session, item), messages)
      if (await table.create({ ...item, messages: sealed })) return next
      const taken = await table.get(pk, sort('TURN', next))
      if (taken && textOf(taken, 'run') === run) return next
      throw conflict(session, version)
    },

    async erase(tenant, session, run) {
      let turns = 0
      for await (const item of table.query({ pk: partition(tenant, 'SESSION', session), where: { run } })) {
        turns++
        const { messages, key: _key, ...rest } = item
        if (messages !== undefined) await table.put(rest)
      }
      return turns
    },
  }
}

function placeOf(tenant: string, session: string, item: Item): string[] {
  return [tenant, 'TURN', session, String(numberOf(item, 'version'))]
}

function conflict(session: string, version: number): MusterError {
  return new MusterError('memory.conflict', `The session ${session} is not at version ${version}`)
}
