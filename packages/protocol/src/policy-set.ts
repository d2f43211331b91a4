import { z } from 'zod'
import { appManifest } from './definition.ts'
import { digest } from './entry.ts'

/** A log-only policy is tried and recorded, and lets nothing through and stops nothing. */
const policyMode = z.enum(['enforced', 'log-only'])
export type PolicyMode = z.infer<typeof policyMode>

/** A policy source: its name for messages, its text, and how it is meant; enforced unless it says otherwise. */
const policySource = z.object({ file: z.string(), text: z.string(), mode: policyMode.optional() })
export type PolicySource = z.infer<typeof policySource>

/** A policy set that a worker has decided by, as lists name it. */
export const policySetSummary = z.object({
  /** What decisions name it by. */
  hash: digest,
  /** When a worker first published it, ms since the epoch. */
  firstSeen: z.number().int(),
  policies: z.array(z.object({ id: z.string(), effect: z.enum(['permit', 'forbid']), mode: policyMode })),
})
export type PolicySetSummary = z.infer<typeof policySetSummary>

/** The same with all that is needed to load it again: its texts, and the app whose tools its schema was made from. */
export const publishedPolicies = policySetSummary.extend({ sources: z.array(policySource), app: appManifest })
export type PublishedPolicies = z.infer<typeof publishedPolicies>
