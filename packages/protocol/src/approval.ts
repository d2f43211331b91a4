import { z } from 'zod'

/** The longest that anybody is waited for by a policy: a year, ms. */
export const APPROVAL_MS_MAX = 366 * 86_400_000
/** The most people that one approval can need. */
export const PEOPLE_MAX = 16
/** Most characters of the reason that is given with an answer. */
export const REASON_MAX = 1000

/** What an approval takes besides one person with its role. */
export const approvalRule = z.object({
  /** So many different people must approve; one unless given. */
  people: z.number().int().min(2).max(PEOPLE_MAX).optional(),
  /** `false`: whoever began the run may not. */
  requester: z.literal(false).optional(),
  /** Whoever answers must say why. */
  reason: z.literal(true).optional(),
  /** Milliseconds after which nobody can approve any more. */
  expiresMs: z.number().int().positive().max(APPROVAL_MS_MAX).optional(),
  /** Another role that may answer as well after so many milliseconds. */
  escalate: z
    .object({ afterMs: z.number().int().positive().max(APPROVAL_MS_MAX), role: z.string().min(1).max(128) })
    .optional(),
})
export type ApprovalRule = z.infer<typeof approvalRule>

/** The same of a plan's own approval, which has a time limit as every wait has. */
export const peopleRule = approvalRule.omit({ expiresMs: true })
export type PeopleRule = z.infer<typeof peopleRule>

/** Somebody has approved exactly what was shown. */
export interface Approval {
  /** The role that was asked for. */
  role: string
  /** The person, and whose hands their key came through. */
  by: string
  hands?: readonly string[] | undefined
}

/** Somebody who asks or answers, as far as it is to be told who else they could be. */
export interface Person {
  user: string
  hands?: readonly string[] | undefined
}

/**
 * Whether two are different people, as far as their keys tell. Who makes or rotates a key sees its secret, so it could be
 * they who use it. Nobody is apart from whom they made a key for; nor are two for whom one person made keys, unless with a
 * key of the file, whose holder is trusted not to be both.
 */
export function areApart(one: Person, other: Person): boolean {
  if (one.user === other.user) return false
  const [mine, others] = [one.hands ?? [], other.hands ?? []]
  if (mine.includes(other.user) || others.includes(one.user)) return false
  return !mine.slice(1).some((hand) => others.includes(hand, 1))
}
