import { MusterError } from '@muster/protocol'

/** Lists and objects in each other: what goes through a body calls itself for each, and the stack ends somewhere. */
const DEPTH_MAX = 256

/** @throws MusterError `request.invalid` for a body that is nested too deeply */
export function checkNesting(body: unknown): void {
  if (!isNested(body)) return
  for (const [name, value] of Object.entries(body)) {
    if (isWithin(value, DEPTH_MAX - 1)) continue
    const message = `is nested more than ${DEPTH_MAX} deep`
    throw new MusterError('request.invalid', `/${name} ${message}`, { issues: [{ path: `/${name}`, message }] })
  }
}

/** No further than it may go. */
function isWithin(value: unknown, depth: number): boolean {
  if (!isNested(value)) return true
  if (depth === 0) return false
  const inner: unknown[] = Array.isArray(value) ? value : Object.values(value)
  return inner.every((one) => isWithin(one, depth - 1))
}

function isNested(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Buffer.isBuffer(value)
}
