import { randomInt } from 'node:crypto'
import {
  type Json,
  KEY_SECRETS_MAX,
  KEYS_MAX,
  type KeptKey,
  type KeyChanges,
  type KeyRequest,
  keyChanges,
  keyHolder,
  keyId,
  keyPage,
  keyRequest,
  keyRotation,
  type MadeKey,
  MusterError,
  madeKey,
  type ShownKey,
  shownKey,
} from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { checkGrant, handsOf } from './key-grants.ts'
import { endOf, hashOf } from './key-secret.ts'
import { type ApiKey, actorOf, hasRole, missingRole } from './keys.ts'
import { optional } from './optional.ts'
import { problemsOf } from './problems.ts'

const shared = { tags: ['keys'], security: [{ key: [] }] }
const params = z.object({ id: z.string().max(64).describe('key id') })
/** Others that change the same key at the same time, after which one who wants to change it gives up. */
const ROUNDS_MAX = 10

/** Routes of a tenant's API keys. */
export function keyRoutes(server: Server, context: Context): void {
  const { memory, ring, records, controls, budgets, redact, keyOf } = context
  const store = memory.apiKeys

  const inFile = (tenant: string, id: string) => ring.ofFile(tenant).find((key) => key.id === id)

  /** @throws MusterError `key.not_found`, also for another tenant's; `key.in_file` */
  const kept = async (tenant: string, id: string): Promise<KeptKey> => {
    const key = keyId.safeParse(id).success ? await store.get(tenant, id) : undefined
    if (key) return key
    if (inFile(tenant, id)) throw new MusterError('key.in_file', `The key "${id}" stands in the keys file`)
    throw new MusterError('key.not_found', `There is no API key "${id}"`)
  }

  /** Replaces a key by what `change` makes of it. @throws MusterError `key.conflict`; what `change` throws */
  const replace = async (tenant: string, id: string, change: (key: KeptKey) => KeptKey | Promise<KeptKey>) => {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const before = await kept(tenant, id)
      const after = await change(before)
      if (after === before) return before
      const next = { ...after, version: before.version + 1 }
      if (await store.save(tenant, next)) return next
    }
    throw conflict(id)
  }

  const show = async (tenant: string, keys: readonly (KeptKey | ApiKey)[]): Promise<ShownKey[]> => {
    const ids = keys.map(({ id }) => id)
    const used = await store.lastUsed(tenant, ids)
    await controls.refresh()
    const states = await budgets.states(
      tenant,
      ids.map((id) => `key:${id}`),
    )
    const limitOf = (id: string) => controls.limits(tenant)?.get(`key:${id}`)?.limit
    return keys.map((key) => ({
      ...('secrets' in key ? shownKept(key) : shownFile(key)),
      ...(used.has(key.id) ? { lastUsedAt: used.get(key.id) } : {}),
      limit: limitOf(key.id),
      budgets: states.filter(({ name }) => name === `key:${key.id}`),
    }))
  }
  /** With its secret, which must reach who asked, whatever else cannot be told. */
  const showMade = async (tenant: string, made: KeptKey, secret: string): Promise<MadeKey> => {
    const shown = await showOne(tenant, made).catch(() => ({ ...shownKept(made), budgets: [] }))
    return { ...shown, key: secret }
  }
  const showOne = async (tenant: string, key: KeptKey | ApiKey): Promise<ShownKey> => {
    const [shown] = await show(tenant, [key])
    if (!shown) throw new MusterError('internal', 'a key cannot be shown')
    return shown
  }

  server.post(
    '/v1/keys',
    {
      config: { access: ['admin'] },
      schema: {
        ...shared,
        summary: 'Make an API key',
        description:
          'It may do no more than the key that makes it. Its secret is in the answer and nowhere else: where the answer is lost, rotate the key.',
        body: keyRequest,
        response: { 201: madeKey, ...problemsOf(400, 401, 403, 409, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { tenant } = who
      const { budget, limit, id: given, note, ...rights } = request.body
      checkGrant(who, rights)
      checkTime(rights.expiresAt)
      if ((budget || limit) && !hasRole(who, 'operator')) throw missingRole(['operator'])
      const id = given ?? idFor(rights.user)
      if (limit) await controls.checkLimit(tenant, `key:${id}`)
      const { secret, ...hashed } = newSecretOf(ring, who)
      const made: KeptKey = {
        ...{ id, ...rights, ...(note === undefined ? {} : { note: redact(tenant, note).value }) },
        ...{ createdAt: Date.now(), createdBy: actorOf(who), secrets: [hashed], version: 1 },
      }
      const outcome = inFile(tenant, id) ? 'taken' : await store.create(tenant, made)
      if (outcome === 'full')
        throw new MusterError('key.too_many', `${tenant} has had ${KEYS_MAX} API keys, with those that were revoked`)
      if (outcome === 'taken')
        throw new MusterError('key.exists', `There is an API key "${id}"`, {
          issues: [{ path: '/id', message: 'is taken' }],
        })
      try {
        await records.add(who, 'api_key.created', { id, ...rightsOf(made) })
        if (budget) {
          await records.add(who, 'budget.set', { name: `key:${id}`, budget })
          await controls.setBudget(tenant, `key:${id}`, budget)
        }
        if (limit) {
          await records.add(who, 'limit.set', { name: `key:${id}`, limit })
          await controls.setLimit(tenant, { name: `key:${id}`, limit, by: who.user, at: Date.now() })
        }
      } catch (error) {
        // Nobody has its secret.
        await store.remove(tenant, made).catch(() => {})
        throw error
      }
      return reply
        .code(201)
        .header('location', `/v1/keys/${id}`)
        .header('cache-control', 'no-store')
        .send(await showMade(tenant, made, secret))
    },
  )

  server.get(
    '/v1/keys',
    {
      config: { access: ['admin', 'auditor'] },
      schema: {
        ...shared,
        summary: 'List API keys, by their ids',
        description:
          'Those of the keys file come first, on the first page; those that were revoked or have expired are there too.',
        querystring: z.strictObject({
          limit: z.coerce.number().int().min(1).max(200).default(100),
          cursor: keyId.optional().describe('`cursor` of the page before'),
        }),
        response: { 200: keyPage, ...problemsOf(400, 401, 403, 503) },
      },
    },
    async (request) => {
      const { tenant } = keyOf(request)
      const { limit, cursor } = request.query
      const found = await store.list(tenant, { limit, after: cursor })
      const file = cursor === undefined ? ring.ofFile(tenant) : []
      const last = found.length === limit ? found.at(-1)?.id : undefined
      return {
        keys: await show(tenant, [...file, ...found]),
        ...(last === undefined ? {} : { cursor: last }),
      }
    },
  )

  server.get(
    '/v1/me',
    {
      config: { access: 'open' },
      schema: {
        ...shared,
        summary: 'Read whose the key is that asks, and what it may do',
        response: { 200: keyHolder, ...problemsOf(401, 503) },
      },
    },
    async (request) => {
      const { id, tenant, user, service, team, roles, expires } = keyOf(request)
      return {
        ...{ key: id, tenant, user, roles },
        ...(service ? { service } : {}),
        ...(team === undefined ? {} : { team }),
        ...(expires === undefined ? {} : { expiresAt: Date.parse(expires) }),
      }
    },
  )

  server.get(
    '/v1/keys/:id',
    {
      config: { access: ['admin', 'auditor'] },
      schema: {
        ...shared,
        summary: 'Read an API key, without its secret',
        params,
        response: { 200: shownKey, ...problemsOf(401, 403, 404, 503) },
      },
    },
    async (request) => {
      const { tenant } = keyOf(request)
      const { id } = request.params
      return showOne(tenant, inFile(tenant, id) ?? (await kept(tenant, id)))
    },
  )

  server.patch(
    '/v1/keys/:id',
    {
      config: { access: ['admin'] },
      schema: {
        ...shared,
        summary: 'Change what an API key may do, or until when',
        description:
          'What is not given stays; `null` takes it away. Whose it is cannot be changed. As it is then, it may do no more than the key that changes it.',
        params,
        body: keyChanges,
        response: { 200: shownKey, ...problemsOf(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request) => {
      const who = keyOf(request)
      const { tenant } = who
      const { note, ...rest } = request.body
      const changes = { ...rest, ...(note ? { note: redact(tenant, note).value } : note === null ? { note } : {}) }
      checkTime(changes.expiresAt)
      const check = (before: KeptKey): KeptKey => {
        checkLives(before)
        const after = { ...changed(before, changes), changedAt: Date.now() }
        checkGrant(who, after)
        return after
      }
      const { id } = request.params
      await records.add(who, 'api_key.changed', { id, ...rightsOf(check(await kept(tenant, id))) })
      const saved = await replace(tenant, id, check)
      await ring.changed(saved)
      return showOne(tenant, saved)
    },
  )

  server.post(
    '/v1/keys/:id/rotate',
    {
      config: { access: ['admin'] },
      schema: {
        ...shared,
        summary: 'Give an API key a new secret',
        description:
          'The one before holds for `graceMs` more, a day unless given. Needs the right to make such a key. Of two at the same time one is refused with `key.conflict`.',
        params,
        body: optional(keyRotation),
        response: { 200: madeKey, ...problemsOf(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { tenant } = who
      const { id } = request.params
      const { graceMs, expiresAt } = request.body
      const before = await kept(tenant, id)
      checkLives(before)
      const now = Date.now()
      const until = now + graceMs
      const old = before.secrets
        .map((one) => ({ ...one, until: Math.min(one.until ?? until, until) }))
        .filter((one) => one.until > now)
      if (old.length >= KEY_SECRETS_MAX) {
        const message = `The key "${id}" has ${old.length} secrets that still hold: wait, or end them with graceMs 0`
        throw new MusterError('key.conflict', message, { issues: [{ path: '/graceMs', message: 'must be 0' }] })
      }
      const { secret, ...hashed } = newSecretOf(ring, who)
      const rotated: KeptKey = {
        ...changed(before, expiresAt === undefined ? {} : { expiresAt }),
        ...{ rotatedAt: now, secrets: [hashed, ...old], version: before.version + 1 },
      }
      // Who gets its secret may do what it may.
      checkGrant(who, rotated)
      checkTime(rotated.expiresAt)
      const times = { graceMs, ...(rotated.expiresAt === undefined ? {} : { expiresAt: rotated.expiresAt }) }
      await records.add(who, 'api_key.rotated', { id, user: before.user, ...times })
      if (!(await store.save(tenant, rotated))) throw conflict(id)
      // The answer must come, as nothing else has the secret: where Redis is away, others hear of it in a minute.
      await ring.changed(before).catch((error) => request.log.warn({ err: error }, 'a rotated key is not told of'))
      return reply.header('cache-control', 'no-store').send(await showMade(tenant, rotated, secret))
    },
  )

  server.delete(
    '/v1/keys/:id',
    {
      config: { access: ['admin'] },
      schema: {
        ...shared,
        summary: 'Revoke an API key',
        description:
          'Within a second it is refused everywhere, and what streams under it is cut off. It stays in the list, and its id stays taken.',
        params,
        response: { 204: z.null(), ...problemsOf(401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const who = keyOf(request)
      const { tenant } = who
      const { id } = request.params
      const revoked = { at: Date.now(), by: actorOf(who) }
      const saved = await replace(tenant, id, (key) => (key.revoked ? key : { ...key, revoked }))
      // It holds even where it cannot be recorded or told of: who hears of that asks again, and both are done again.
      const recorded = records.add(who, 'api_key.revoked', { id, user: saved.user })
      for (const done of await Promise.allSettled([ring.changed(saved), recorded]))
        if (done.status === 'rejected') throw done.reason
      return reply.code(204).send(null)
    },
  )
}

/** A secret that `maker` is told. @throws MusterError `auth.forbidden` */
function newSecretOf(ring: Context['ring'], maker: ApiKey) {
  const secret = ring.newSecret()
  return { secret, sha256: hashOf(secret), end: endOf(secret), hands: handsOf(maker) }
}

/** What its user is called, as far as an id can say that, and some chance. */
function idFor(user: string): string {
  const name = user.replace(/[^\w.@-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '')
  return `${name.slice(0, 50) || 'key'}-${randomInt(36 ** 5)
    .toString(36)
    .padStart(5, '0')}`
}

/** What is not given stays, and `null` takes away. */
function changed(key: KeptKey, changes: KeyChanges): KeptKey {
  const given = Object.entries(changes).filter(([, value]) => value !== undefined)
  const all = Object.entries({ ...key, ...Object.fromEntries(given) })
  return Object.fromEntries(all.filter(([, value]) => value !== null)) as unknown as KeptKey // of its own fields
}

/** @throws MusterError `key.revoked` */
function checkLives({ id, revoked }: KeptKey): void {
  if (revoked) throw new MusterError('key.revoked', `The API key "${id}" was revoked by ${revoked.by.user}`)
}

/** @throws MusterError `request.invalid` where it is over */
function checkTime(expiresAt: number | null | undefined): void {
  if (expiresAt == null || expiresAt > Date.now()) return
  const message = `${new Date(expiresAt).toISOString()} has passed`
  throw new MusterError('request.invalid', `/expiresAt ${message}`, { issues: [{ path: '/expiresAt', message }] })
}

function conflict(id: string): MusterError {
  return new MusterError('key.conflict', `Somebody else has changed the API key "${id}" at the same time`)
}

/** What the record book says that a key may do. */
function rightsOf({ user, service, roles, team, gateway, expiresAt }: KeptKey | (KeyRequest & { id: string })) {
  const rights = { user, service, roles, team, gateway, expiresAt }
  const given = Object.entries(rights).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given) as Record<string, Json> // JSON, as it came
}

function shownKept({ secrets, version: _, ...key }: KeptKey): Omit<ShownKey, 'budgets'> {
  const [newest, before] = secrets
  const isOver = key.expiresAt !== undefined && key.expiresAt <= Date.now()
  return {
    ...key,
    ...{ from: 'api', state: key.revoked ? 'revoked' : isOver ? 'expired' : 'active' },
    ...(newest ? { end: newest.end } : {}),
    ...(newest?.hands ? { hands: newest.hands } : {}),
    ...(before?.until !== undefined && before.until > Date.now() && !key.revoked ? { oldUntil: before.until } : {}),
  }
}

function shownFile({ id, user, service, roles, team, gateway, expires }: ApiKey): Omit<ShownKey, 'budgets'> {
  const expiresAt = expires === undefined ? undefined : Date.parse(expires)
  return {
    ...{ id, user, roles, from: 'file' },
    ...(service ? { service } : {}),
    ...(team === undefined ? {} : { team }),
    ...(gateway ? { gateway } : {}),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    state: expiresAt !== undefined && expiresAt <= Date.now() ? 'expired' : 'active',
  }
}
