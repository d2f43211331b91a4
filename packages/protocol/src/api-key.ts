import { z } from 'zod'
import { budget, budgetState } from './budget.ts'
import { label } from './definition.ts'
import { actor } from './entry.ts'
import { limit } from './limits.ts'

/** Keys that a tenant may have had: those that were revoked count, as their ids stay taken. */
export const KEYS_MAX = 10_000
/** Secrets of one key that hold at once: the newest, and those before it that are in their time of grace. */
export const KEY_SECRETS_MAX = 5
/** How long the secret before holds after a rotation, unless it is said, and at most, ms. */
export const KEY_GRACE_MS = 24 * 3_600_000
export const KEY_GRACE_MAX_MS = 30 * 24 * 3_600_000
/** What is known of a key's last use may be so far behind, ms. */
export const KEY_USED_MS = 600_000

/** It names a budget (`key:<id>`), so it has no `*`, and stands in paths. */
export const keyId = z
  .string()
  .max(64)
  .regex(/^[A-Za-z0-9][\w.@-]*$/, 'begins with a letter or digit and has only those, "_", ".", "@" and "-"')

const expiresAt = z.number().int().positive().max(8.64e15).describe('ms since the epoch; for ever without it')

/** What a key may be given, besides whose it is. */
const rights = {
  roles: z
    .array(z.string().min(1).max(64))
    .max(50)
    .describe('such as `operator`, `auditor`, `eraser`, `admin`, or one for approvals; `*` is every role'),
  team: z.string().min(1).max(128).optional().describe('of those who share a budget'),
  gateway: z
    .strictObject({
      routes: z
        .array(z.string().min(1).max(200))
        .max(200)
        .optional()
        .describe('of the gateway that it may use, `*` at the end for any rest; all without it'),
      labels: z.array(label).max(50).optional().describe('of all that it asks'),
    })
    .optional(),
  note: z.string().trim().min(1).max(256).optional().describe('what it is for'),
}

/** A key as it is asked for. */
export const keyRequest = z.strictObject({
  id: keyId.optional().describe('made of the user unless given'),
  user: z.string().min(1).max(128).describe('the person or service that it belongs to'),
  service: z.literal(true).optional().describe('it belongs to a service or an agent, which may not approve'),
  ...rights,
  roles: rights.roles.default([]),
  expiresAt: expiresAt.optional(),
  budget: budget.optional().describe('set for `key:<id>`: needs the role "operator" too'),
  limit: limit.optional().describe('how fast it may call models, set for `key:<id>`: needs the role "operator" too'),
})
export type KeyRequest = z.infer<typeof keyRequest>

/** What of a key can be changed; `null` takes it away. Whose it is stays. */
export const keyChanges = z.strictObject({
  roles: rights.roles.optional(),
  team: rights.team.nullable(),
  gateway: rights.gateway.nullable(),
  note: rights.note.nullable(),
  expiresAt: expiresAt.nullish(),
})
export type KeyChanges = z.infer<typeof keyChanges>

/** How a key gets a new secret. */
export const keyRotation = z.strictObject({
  graceMs: z
    .number()
    .int()
    .min(0)
    .max(KEY_GRACE_MAX_MS)
    .default(KEY_GRACE_MS)
    .describe('how long secrets before it hold at most; 0 ends them now'),
  expiresAt: expiresAt.nullish().describe('when the key expires from now on; as before without it'),
})
export type KeyRotation = z.infer<typeof keyRotation>

const about = {
  id: z.string(),
  user: z.string(),
  service: z.literal(true).optional(),
  ...rights,
  expiresAt: expiresAt.optional(),
  createdAt: z.number(),
  createdBy: actor,
  changedAt: z.number().optional(),
  rotatedAt: z.number().optional(),
  revoked: z.object({ at: z.number(), by: actor }).optional(),
}

/** The most people through whose hands a key may come: each who makes one with a key that somebody else has made. */
export const KEY_HANDS_MAX = 16

/** A key as it is kept: of its secrets the hashes alone. */
export const keptKey = z.object({
  ...about,
  /**
   * The newest first; `until`: when one before it ends, ms since the epoch. `end`: its last characters, to know it by.
   * `hands`: who could have it besides its user, as in an actor.
   */
  secrets: z.array(
    z.object({
      sha256: z.string(),
      end: z.string(),
      until: z.number().optional(),
      hands: z.array(z.string()).optional(),
    }),
  ),
  /** Grows with each change. */
  version: z.number().int().positive(),
})
export type KeptKey = z.infer<typeof keptKey>

/** A key as people are shown it. */
export const shownKey = z.object({
  ...about,
  createdAt: about.createdAt.optional(),
  createdBy: about.createdBy.optional(),
  from: z.enum(['api', 'file']).describe('`file`: it stands in MUSTER_KEYS_FILE, and is changed there'),
  state: z.enum(['active', 'expired', 'revoked']),
  end: z.string().optional().describe('the last characters of its secret'),
  hands: z
    .array(z.string())
    .optional()
    .describe('who has had its secret before its user, the first of them by a key of the file'),
  oldUntil: z.number().optional().describe('until when a secret from before the last rotation holds'),
  lastUsedAt: z.number().optional().describe('ms since the epoch; it may be ten minutes behind'),
  budgets: z.array(budgetState).describe('of `key:<id>`, as they stand'),
  limit: limit.optional().describe('of `key:<id>`, where one was set'),
})
export type ShownKey = z.infer<typeof shownKey>

/** Who asks, by the key that they ask with. */
export const keyHolder = z.object({
  key: z.string().describe('its id'),
  tenant: z.string(),
  user: about.user,
  service: about.service,
  team: about.team,
  roles: about.roles,
  expiresAt: about.expiresAt,
})
export type KeyHolder = z.infer<typeof keyHolder>

export const keyPage = z.object({
  keys: z.array(shownKey),
  cursor: z.string().optional().describe('of the next page'),
})
export type KeyPage = z.infer<typeof keyPage>

/** A key that was made or rotated, with its secret. */
export const madeKey = shownKey.extend({ key: z.string().describe('the secret: shown now and never again') })
export type MadeKey = z.infer<typeof madeKey>
