import { MusterError } from '@muster/protocol'

/** DynamoDB's limits, in bytes of UTF-8. */
const partitionBytesMax = 2048
const sortBytesMax = 1024

/**
 * A partition key: `T#<tenant>#<kind>#<part>…`. Every key is made here, so that every key begins with its tenant.
 *
 * @throws MusterError `memory.too_large` where DynamoDB would not take the key
 */
export function partition(tenant: string, kind: string, ...parts: string[]): string {
  return limited(['T', escapePart(tenant), kind, ...parts.map(escapePart)].join('#'), partitionBytesMax)
}

/**
 * A sort key: `<kind>#<part>…`. Numbers are padded so that they sort.
 *
 * @throws MusterError `memory.too_large` where DynamoDB would not take the key
 */
export function sort(kind: string, ...parts: (string | number)[]): string {
  const texts = parts.map((part) => (typeof part === 'number' ? padded(part) : escapePart(part)))
  return limited([kind, ...texts].join('#'), sortBytesMax)
}

/** Comes after everything that `sort` can put in its place: its other characters are of ASCII and below `~`, or letters of ids. */
export const LAST = '~'

/** Runs after this one; all without it. */
export function laterThan(run: string | undefined) {
  return run === undefined ? {} : { sk: { from: `${sort('RUN', run)}#`, to: `RUN#${LAST}` } }
}

/** Ten digits: more than a run has entries, a session turns or a fact versions. */
function padded(value: number): string {
  if (!Number.isInteger(value) || value < 0 || value > 9_999_999_999) {
    throw new RangeError(`${value} cannot be part of a key`)
  }
  return String(value).padStart(10, '0')
}

/**
 * `%` and four hexadecimal digits stand for `#`, for `%` itself and for half a surrogate pair, which UTF-8 cannot hold:
 * written as it is, each half would become U+FFFD and different names the same key. So the mapping is one to one, and no
 * part can hold a separator.
 */
export function escapePart(part: string): string {
  return part.replace(/[%#\p{Surrogate}]/gu, (c) => `%${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function limited(key: string, bytesMax: number): string {
  const bytes = Buffer.byteLength(key)
  if (bytes <= bytesMax) return key
  throw new MusterError('memory.too_large', `The name takes ${bytes} bytes as a key; at most ${bytesMax} are possible`)
}
