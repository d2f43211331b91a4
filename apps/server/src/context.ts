import type { Controls, Journal, NewRun } from '@muster/journal'
import type { Memory } from '@muster/memory'
import type { Dialect } from '@muster/models'
import type { Json, RedactCounts, RetentionRule } from '@muster/protocol'
import type { CallbackTokens, Gateway, LedgerReader, Refusals, RunReader } from '@muster/runtime'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { Access } from './access.ts'
import type { Admission } from './admission.ts'
import type { Budgets, GiveBack } from './budgets.ts'
import type { CostBook } from './costs.ts'
import type { KeyRing } from './key-ring.ts'
import type { ApiKey } from './keys.ts'
import type { ServerRecords } from './records.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** As whom a route speaks: it answers errors in their words too. */
    dialect?: Dialect
    /** It answers for as long as something goes on, and is cut off when its key is good no more. */
    follows?: boolean
    /** Who may use it; each route under `/v1` says so. */
    access?: Access
  }

  interface FastifyRequest {
    /** Who sends it; see `Context.keyOf`. A `WeakMap` would cost more than all else that is looked up for it. */
    apiKey: ApiKey | null
    /** Its body is there, or will not be: what it had of the room for bodies is another's. */
    leaveBodies: (() => void) | null
    /** Its body as it came, until what may have numbers that a double changes was read with them. */
    written: string | null
  }
}

/** What the routes share. */
export interface Context {
  journal: Journal
  memory: Memory
  reader: RunReader
  ledger: LedgerReader
  /** Undefined where this server has none. */
  gateway: Gateway | undefined
  /** What people do besides runs. */
  records: ServerRecords
  admission: Admission
  /** What operators have stopped and limited. */
  controls: Controls
  budgets: Budgets
  costBook: CostBook
  retention: readonly RetentionRule[]
  refusals: Refusals
  /**
   * Whether a run may begin: it is not stopped, its content is not being erased, and its tenant's quota has one left. What
   * it gives is to be called where no run was created after all.
   *
   * @throws MusterError `stop.active`, `subject.erased` or `quota.exceeded`
   */
  enter(run: NewRun): GiveBack | Promise<GiveBack>
  /** Takes personal data and secrets out of what comes, before it is written. */
  redact<T extends Json>(tenant: string, value: T): { value: T; redacted?: RedactCounts }
  /** Signs callbacks and webhooks. */
  secret: string | undefined
  webhooksAnywhere: boolean
  /** Undefined where the server has no secret. */
  callbacks: CallbackTokens | undefined
  ring: KeyRing
  /** Who sends a request; set before any `/v1` route runs. */
  keyOf(request: FastifyRequest): ApiKey
}

// biome-ignore lint/suspicious/noExplicitAny: fastify's own defaults for the parameters that we do not choose
export type Server = FastifyInstance<any, any, any, any, ZodTypeProvider>
