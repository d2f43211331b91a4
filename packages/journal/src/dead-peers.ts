import { Cluster, type Redis } from 'ioredis'

/** So often it is looked whether something has come, ms. */
const TICK_MS = 1000
/** A connection on which nothing has come for so many looks though an answer is due is dead. */
const TICKS_MAX = 4

interface Watched {
  redis: Redis
  bytesRead: number
  ticks: number
}

const watched = new Map<Redis, Watched>()
let timer: NodeJS.Timeout | undefined

/**
 * Breaks off a connection on which nothing comes though an answer is due: a load balancer that has forgotten it, or a
 * machine that is gone, tells neither side, and TCP itself would go on for a quarter of an hour. ioredis then connects
 * anew and sends again what has no answer.
 *
 * Looks are counted instead of time: after a tool has held the event loop, what came meanwhile is read before the next.
 */
export function watchForDeadPeer(connection: Redis | Cluster): void {
  if (connection instanceof Cluster) {
    for (const node of connection.nodes()) watchForDeadPeer(node)
    connection.on('+node', watchForDeadPeer)
    const duplicate = connection.duplicate.bind(connection)
    connection.duplicate = (...options) => watchedToo(duplicate(...options))
    return
  }
  watched.set(connection, { redis: connection, bytesRead: 0, ticks: 0 })
  connection.once('end', () => {
    watched.delete(connection)
    if (watched.size > 0) return
    clearInterval(timer)
    timer = undefined
  })
  // What BullMQ opens besides, to block on.
  const duplicate = connection.duplicate.bind(connection)
  connection.duplicate = (override) => watchedToo(duplicate(override))
  timer ??= setInterval(look, TICK_MS).unref()
}

function watchedToo<C extends Redis | Cluster>(connection: C): C {
  watchForDeadPeer(connection)
  return connection
}

function look(): void {
  for (const one of watched.values()) {
    // ioredis keeps these for itself: the socket, and the commands that have no answer yet.
    const { stream, commandQueue } = one.redis as unknown as {
      stream?: { bytesRead?: number; destroy(error: Error): void }
      commandQueue: { length: number }
    }
    const bytesRead = stream?.bytesRead ?? 0
    const isSilent = one.redis.status === 'ready' && commandQueue.length > 0 && bytesRead === one.bytesRead
    one.ticks = isSilent ? one.ticks + 1 : 0
    one.bytesRead = bytesRead
    if (one.ticks < TICKS_MAX) continue
    one.ticks = 0
    stream?.destroy(new Error(`no answer from Redis in ${(TICK_MS * TICKS_MAX) / 1000} s`))
  }
}
