import { APPROVAL_MS_MAX, type ApprovalRule, PEOPLE_MAX } from '@muster/protocol'

/** Who may lift a forbid, and what that takes. */
export interface Ask {
  role: string
  rule: ApprovalRule
}

const UNITS_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/**
 * What a forbid's annotations say of who may lift it: `@ask("role")`, and with it `@people("2")`,
 * `@requester("no")`, `@reason("required")`, `@expires("4h")` and `@escalate("30m cfo")`. Undefined where
 * nobody may. `reject` is told of each mistake.
 */
export function readAsk(
  { ask, people, requester, reason, expires, escalate }: Readonly<Record<string, string | null | undefined>>,
  reject: (message: string) => void,
): Ask | undefined {
  const conditions = { people, requester, reason, expires, escalate }
  if (ask === undefined) {
    for (const [name, value] of Object.entries(conditions))
      if (value !== undefined) reject(`@${name} belongs to an @ask`)
    return undefined
  }
  if (!ask) reject('@ask names a role: @ask("finance")')
  const rule: ApprovalRule = {}
  if (people !== undefined) {
    const count = Number(people)
    if (!Number.isInteger(count) || count < 1 || count > PEOPLE_MAX)
      reject(`@people is a number from 1 to ${PEOPLE_MAX}: @people("2")`)
    else if (count > 1) rule.people = count
  }
  if (requester === 'no') rule.requester = false
  else if (requester !== undefined) reject('@requester is "no": whoever began the run may not approve')
  if (reason === 'required') rule.reason = true
  else if (reason !== undefined) reject('@reason is "required": whoever answers must say why')
  if (expires !== undefined) {
    const expiresMs = milliseconds(expires)
    if (expiresMs === undefined) reject(`@expires is a time such as "30m", "4h" or "2d", of a year at most`)
    else rule.expiresMs = expiresMs
  }
  if (escalate !== undefined) {
    const [, time, role] = /^(\S+) (\S.{0,127})$/.exec(escalate ?? '') ?? []
    const afterMs = milliseconds(time)
    if (afterMs === undefined || role === undefined)
      reject('@escalate is a time and the role that may answer as well from then on: @escalate("30m cfo")')
    else if (rule.expiresMs !== undefined && afterMs >= rule.expiresMs) reject('@escalate comes after @expires')
    else rule.escalate = { afterMs, role }
  }
  return { role: ask ?? '', rule }
}

function milliseconds(text: string | null | undefined): number | undefined {
  const [, count, unit] = /^([1-9]\d{0,8})([smhd])$/.exec(text ?? '') ?? []
  const ms = Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS] // one of them by the pattern
  return ms <= APPROVAL_MS_MAX ? ms : undefined
}

/** What satisfies all of them. */
export function strictest(rules: readonly ApprovalRule[]): ApprovalRule {
  const all: ApprovalRule = {}
  for (const { people, requester, reason, expiresMs, escalate } of rules) {
    if (people !== undefined) all.people = Math.max(all.people ?? 1, people)
    if (requester !== undefined) all.requester = requester
    if (reason !== undefined) all.reason = reason
    if (expiresMs !== undefined) all.expiresMs = Math.min(all.expiresMs ?? expiresMs, expiresMs)
    // The one that waits longest, so that nobody answers earlier than each of them lets.
    if (escalate && (all.escalate?.afterMs ?? 0) < escalate.afterMs) all.escalate = escalate
  }
  // Where one of them lets nobody else answer, nobody else does.
  if (rules.some(({ escalate }) => !escalate || escalate.role !== all.escalate?.role)) delete all.escalate
  return all
}
