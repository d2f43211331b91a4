import { MusterError } from '@muster/protocol'

/** Lists and objects in each other: what goes through a body calls itself for each, and the stack ends somewhere. */
const DEPTH_MAX = 256

/** @throws MusterError `request.invalid` for a body that is nested too deeply */
export function checkNesting(body: unknown): void {
  if (!isNested(body)) return
  for (const [name, value] of Object.entries(body)) {
    if (depthOf(value) < DEPTH_MAX) continue
    const message = `is nested more than ${DEPTH_MAX} deep`
    throw new MusterError('request.invalid', `/${name} ${message}`, { issues: [{ path: `/${name}`, message }] })
  }
}

/** Level by level, no further than it may go. */
function depthOf(value: unknown): number {
  let depth = 0
  for (let level = [value].filter(isNested); level.length > 0 && depth < DEPTH_MAX; depth++) {
    const next: object[] = []
    for (const one of level) for (const inner of Object.values(one)) if (isNested(inner)) next.push(inner)
    level = next
  }
  return depth
}

function isNested(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Buffer.isBuffer(value)
}
