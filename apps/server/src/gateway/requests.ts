import { type Dialect, type ModelFacts, withoutCredentials } from '@muster/models'
import { GATEWAY, type Json, type Label, MusterError, newId } from '@muster/protocol'
import type { Gateway, HeldRequest } from '@muster/runtime'
import type { FastifyRequest } from 'fastify'
import type { Context } from '../context.ts'
import { type ApiKey, actorOf } from '../keys.ts'
import { checkNotStopped } from '../stops.ts'
import { clientOf, labelsOf, PREFIXES, passedOn, sessionOf } from './client.ts'

/** Pictures and files come in the body. */
export const GATEWAY_BYTES_MAX = 32 * 1024 * 1024

/** Requests whose tokens are counted at once. */
const COUNTING_MAX = 100

/** Models that an error names. */
const NAMED_MAX = 20

export type Body = { [name: string]: Json } & { model: string; stream?: boolean }

/** What the run of a request has as its input. */
export interface StoredRequest {
  dialect: Dialect
  client: string
  body: Body
}

/** What a model is asked, and how what was said before is labelled. */
export interface Sent {
  body: Body
  labels: readonly Label[]
}

/** Takes clients' requests: each becomes a run that this process holds. */
export class Requests {
  readonly gateway: Gateway
  readonly #context: Context
  readonly #routes: ReadonlyMap<string, ModelFacts>
  #counting = 0

  constructor(gateway: Gateway, context: Context) {
    this.gateway = gateway
    this.#context = context
    this.#routes = new Map(gateway.models.routes().map(({ name, facts }) => [name, facts]))
  }

  /** The routes that a key may use, in order, and what can be done there. */
  routesOf(who: ApiKey): [route: string, facts: ModelFacts][] {
    return [...this.#routes].filter(([route]) => mayUse(who, route))
  }

  /** Of what is not there, with what is. */
  unknown(who: ApiKey, route: string): MusterError {
    return new MusterError('model.not_found', `There is no model "${route}". ${this.#mayUse(who)}`)
  }

  #mayUse(who: ApiKey): string {
    const routes = this.routesOf(who).map(([name]) => name)
    const shown = routes.slice(0, NAMED_MAX).join(', ') + (routes.length > NAMED_MAX ? ', …' : '')
    return `The key may use: ${shown || 'none'}`
  }

  /**
   * How many tokens a request has where it would go. It is held to what the key may use, to policy
   * and to stops, and is no run.
   *
   * @throws MusterError why it is not counted
   */
  async countTokens(
    request: FastifyRequest,
    dialect: 'messages' | 'responses',
    { body, labels: before }: Sent,
    signal: AbortSignal,
  ): Promise<number> {
    const { gateway } = this
    const { who, route } = this.#allowed(request, body)
    const labels = labelsOf(request.headers, [...(who.gateway?.labels ?? []), ...before])
    checkNotStopped(this.#context.controls, { tenant: who.tenant, definition: GATEWAY }, `model:${route}`)
    const refused = gateway.refusedTargets(actorOf(who), { tenant: who.tenant, route, labels })
    if (this.#counting >= COUNTING_MAX)
      throw new MusterError('rate.limited', `${COUNTING_MAX} requests are being counted`, { retryAfterMs: 1000 })
    this.#counting++
    try {
      const { value } = gateway.redact(who.tenant, body)
      return await gateway.models.countTokens(route, {
        ...{ dialect, body: value as Body, signal, labels, refused, headers: passedOn(request.headers) }, // the shape stays
      })
    } finally {
      this.#counting--
    }
  }

  /** Whose request it is, and where it goes. @throws MusterError where the key may not */
  #allowed(request: FastifyRequest, { model: route }: Body): { who: ApiKey; route: string } {
    const who = this.#context.keyOf(request)
    this.gateway.check(who.tenant)
    if (!this.#routes.has(route)) throw this.unknown(who, route)
    if (!mayUse(who, route))
      throw new MusterError(
        'model.not_allowed',
        `The key "${who.id}" may not use the model "${route}". ${this.#mayUse(who)}`,
      )
    return { who, route }
  }

  /**
   * @param sent what the model is asked, where that is more than the client has sent
   * @throws MusterError why it is not taken
   */
  async begin(
    request: FastifyRequest,
    dialect: Dialect,
    body: Body,
    { body: sent, labels: before }: Sent = { body, labels: [] },
  ): Promise<HeldRequest> {
    const { gateway } = this
    const { enter, controls } = this.#context
    const { who, route } = this.#allowed(request, body)
    const { tenant, user } = who
    const run = newId()
    const session = sessionOf(request.headers, user)
    const kept = withoutCredentials(body) as Body // the shape stays
    const stored: StoredRequest = { dialect, client: clientOf(request.headers), body: kept }
    const { value, redacted } = gateway.redact(tenant, stored as unknown as Json) // JSON by its parts
    const input = value as unknown as StoredRequest & { [name: string]: Json } // the shape stays
    const created = {
      ...{ run, tenant, by: actorOf(who), definition: GATEWAY, limits: {} },
      labels: labelsOf(request.headers, [...(who.gateway?.labels ?? []), ...before]),
      ...(session === undefined ? {} : { session }),
      ...(redacted ? { redacted } : {}),
    }
    checkNotStopped(controls, created, `model:${route}`)
    const giveBack = await enter(created)
    try {
      return gateway.begin(created, input, {
        ...{ route, dialect, responseId: PREFIXES[dialect] + run, headers: passedOn(request.headers) },
        ...(dialect === 'responses' ? { kept: keptOf(body) } : {}),
        body: sent === kept ? input.body : (gateway.redact(tenant, sent).value as Body), // as above
      })
    } catch (error) {
      await giveBack()
      throw error
    }
  }
}

/** What of a response the journal keeps, which the vendor is not asked to. */
function keptOf({ store, background, previous_response_id }: Body): { [name: string]: Json } {
  return {
    store: store ?? true,
    background: background ?? false,
    previous_response_id: previous_response_id ?? null,
  }
}

/** `*` at the end stands for any rest. */
function mayUse({ gateway }: ApiKey, route: string): boolean {
  const routes = gateway?.routes
  return (
    routes === undefined ||
    routes.some((one) => (one.endsWith('*') ? route.startsWith(one.slice(0, -1)) : one === route))
  )
}
