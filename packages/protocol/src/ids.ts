import { v7 } from 'uuid'

/** Random bytes for many ids: asking for those of each costs more than the rest of an id. */
const random = new Uint8Array(4096)
const own = new Uint8Array(16)
let used = random.length
/** The millisecond of the last id, and its place in that: ids of one process sort in the order in which they were made. */
let msecs = 0
let seq = 0

/** A new run id: a UUIDv7 (RFC 9562), so that ids sort by the time of creation. */
export function newId(): string {
  if (used === random.length) {
    crypto.getRandomValues(random)
    used = 0
  }
  for (let i = 0; i < own.length; i++, used++) {
    own[i] = random[used] ?? 0
    random[used] = 0
  }
  const now = Date.now()
  if (now > msecs) {
    msecs = now
    // 31 bits, so that the place can grow.
    const [a = 0, b = 0, c = 0, d = 0] = own
    seq = ((a & 0x7f) << 24) | (b << 16) | (c << 8) | d
  } else seq++
  return v7({ random: own, msecs, seq })
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

export function isId(text: string): boolean {
  return uuid.test(text)
}

/** Milliseconds since the Unix epoch, with which a UUIDv7 begins (RFC 9562, section 5.7). */
export function timeOf(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}

/** Most partitions that runs can be spread over. */
export const PARTITIONS_MAX = 64

/** The part of an id that says where its run is: a child has that of its parent. */
function tailOf(id: string): number {
  return Number.parseInt(id.slice(-4), 16)
}

/** Which of `count` partitions a run is in. */
export function partitionOf(id: string, count: number): number {
  return count === 1 ? 0 : tailOf(id) % count
}

/** An id of the same time and randomness whose run is in the given partition of `count`. */
export function inPartition(id: string, partition: number, count: number): string {
  const tail = tailOf(id)
  // Down to a multiple of the count; the last, broken round has not every partition.
  const round = Math.min(tail - (tail % count), 0x10000 - (0x10000 % count) - count)
  return id.slice(0, -4) + (round + partition).toString(16).padStart(4, '0')
}

/** The id that a parent step's child run always gets, so that starting it twice starts it once. */
export function childRunId(parentRun: string, digestHex: string): string {
  // A UUIDv7 with the parent's time and tail and 58 bits of the digest of the step's name: stable across retries, sorted
  // near its parent, in the same partition.
  const variant = ((Number.parseInt(digestHex[3] ?? '0', 16) & 3) | 8).toString(16)
  return `${parentRun.slice(0, 14)}7${digestHex.slice(0, 3)}-${variant}${digestHex.slice(4, 7)}-${digestHex.slice(7, 15)}${parentRun.slice(-4)}`
}

/** The name of what is written `name@version`, as agents are in steps. */
export function nameOf(target: string): string {
  return target.slice(0, target.lastIndexOf('@'))
}
