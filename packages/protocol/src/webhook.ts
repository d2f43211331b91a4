import { z } from 'zod'

/** Most webhooks of a tenant. */
export const WEBHOOKS_MAX = 20

/** What a webhook tells of: a run has ended, or waits for a person. */
export const webhookEvent = z.enum(['run.succeeded', 'run.failed', 'run.cancelled', 'run.waiting'])
export type WebhookEvent = z.infer<typeof webhookEvent>

/** A webhook as it is sent. */
export const webhookRequest = z.strictObject({
  /** Where events are sent to: https, unless private addresses are allowed. */
  url: z.url({ protocol: /^https?$/ }).max(2048),
  /** All unless given. */
  events: z
    .array(webhookEvent)
    .min(1)
    .max(16)
    .default([...webhookEvent.options]),
  description: z.string().max(256).optional(),
})
export type WebhookRequest = z.infer<typeof webhookRequest>

/** A webhook as clients see it: its secret is shown when it is made, and never again. */
export const webhook = z.object({
  ...webhookRequest.shape,
  id: z.string(),
  createdAt: z.number(),
  /** When it got its secret; the one before is good for a day more. */
  rotatedAt: z.number(),
  /** Nothing is sent any more, since when and why; a change of the webhook enables it. */
  disabled: z.object({ at: z.number(), reason: z.string() }).optional(),
})
export type Webhook = z.infer<typeof webhook>

/** What is sent, as JSON. It holds no content: who receives it reads the run by the API. */
const webhookPayload = z.object({
  type: z.union([webhookEvent, z.literal('ping')]),
  /** ISO 8601. */
  timestamp: z.string(),
  data: z.object({
    run: z.string().optional(),
    kind: z.enum(['agent', 'plan']).optional(),
    name: z.string().optional(),
    version: z.string().optional(),
    error: z.object({ code: z.string() }).optional(),
    /** Steps that wait for people, the roles that may answer, how many must, and until when. */
    waiting: z
      .array(
        z.object({
          step: z.string(),
          for: z.string(),
          role: z.string().optional(),
          people: z.number().optional(),
          escalated: z.string().optional(),
          until: z.number().optional(),
        }),
      )
      .optional(),
  }),
})
export type WebhookPayload = z.infer<typeof webhookPayload>

/** One attempt to deliver an event. Times are ms since the Unix epoch. */
export const delivery = z.object({
  /** The event's id, in the header `webhook-id`: the same for every attempt. */
  event: z.string(),
  type: z.string(),
  run: z.string().optional(),
  at: z.number(),
  attempt: z.number().int(),
  delivered: z.boolean(),
  /** Status of the answer, where there was one. */
  status: z.number().optional(),
  /** Why there was none. */
  error: z.string().optional(),
  durationMs: z.number(),
  /** When it is tried again. */
  nextAt: z.number().optional(),
})
export type Delivery = z.infer<typeof delivery>
