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
  /** The person. */
  by: string
}
