import { v7 } from 'uuid'

/** A new run id: a UUIDv7 (RFC 9562), so that ids sort by the time of creation. */
export function newId(): string {
  return v7()
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

export function isId(text: string): boolean {
  return uuid.test(text)
}

/** The id that a parent step's child run always gets, so that starting it twice starts it once. */
export function childRunId(parentRun: string, digestHex: string): string {
  // A UUIDv7 with the parent's time and 74 bits of the digest of the step's name: stable across retries, sorted near its parent.
  const variant = ((Number.parseInt(digestHex[3] ?? '0', 16) & 3) | 8).toString(16)
  return `${parentRun.slice(0, 14)}7${digestHex.slice(0, 3)}-${variant}${digestHex.slice(4, 7)}-${digestHex.slice(7, 19)}`
}
