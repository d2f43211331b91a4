import { hash } from 'node:crypto'
import {
  type CedarValueJson,
  type Context,
  type DetailedError,
  type EntityJson,
  type PolicyJson,
  policySetTextToParts,
  policyToJson,
  preparsePolicySet,
  preparseSchema,
  statefulIsAuthorized,
  validate,
} from '@cedar-policy/cedar-wasm/nodejs'
import { type AppManifest, type Decision, type Issue, type Json, MusterError } from '@muster/protocol'
import { cedarSchema, type InputType } from './schema.ts'
import { volatility } from './volatile.ts'

export type Action = 'model:invoke' | 'tool:call' | 'code:run' | 'memory:read' | 'memory:write' | 'agent:delegate'

/** One question: may this agent or plan do that, with this data? */
export interface PolicyRequest {
  tenant: string
  principal: { type: 'Agent' | 'Plan'; name: string }
  action: Action
  resource: { type: 'Tool' | 'Model' | 'Memory' | 'Agent' | 'Code'; name: string; effect?: string; approved?: boolean }
  /** Of `tool:call`: data goes where none is known to go. */
  newDestination?: boolean
  /** Labels of everything that goes into the step. */
  labels: readonly string[]
  /** Roles that have approved this very step. */
  approvals: readonly string[]
  /** Who began the run. */
  user: string
  /** US dollars that the run has cost so far. */
  spentUsd: number
  input?: Json
}

/** A policy source: its name for messages, and its text. */
export interface PolicySource {
  file: string
  text: string
}

interface Policy {
  /** Role that may lift a forbid, by its `@ask` annotation. */
  ask: string | undefined
  json: PolicyJson
}

/** Decisions that are remembered before all are forgotten. */
const REMEMBERED_MAX = 10_000

/**
 * A checked set of Cedar policies. Decides by Cedar's rules: deny unless a policy permits and none
 * forbids. A forbid with `@ask("role")` turns the deny into `ask` when the role's approval, which
 * `context.approvals` then holds, would let the step through: nothing else forbids it and something
 * permits it. Several roles are asked one after the other.
 */
export class PolicySet {
  /** Hash of the sources: recorded with every decision. */
  readonly hash: string
  readonly #policies: Map<string, Policy>
  readonly #inputTypes: ReadonlyMap<string, InputType>
  readonly #isVolatile: ReturnType<typeof volatility>
  readonly #remembered = new Map<string, Decision>()

  constructor(hash: string, policies: Map<string, Policy>, inputTypes: ReadonlyMap<string, InputType>) {
    this.hash = hash
    this.#policies = policies
    this.#inputTypes = inputTypes
    this.#isVolatile = volatility([...policies.values()].map((policy) => policy.json))
  }

  decide(request: PolicyRequest): Decision {
    const problem = this.problem(request)
    if (problem !== undefined) return { effect: 'deny', policies: [], set: this.hash, errors: [problem] }
    if (!this.isSteady(request.action, request.resource)) return this.#evaluate(request, this.#context(request))
    const { tenant, principal, action, resource, labels, approvals, user } = request
    const key = JSON.stringify([
      tenant,
      principal.type,
      principal.name,
      action,
      resource.type,
      resource.name,
      resource.effect,
      resource.approved,
      request.newDestination,
      labels,
      approvals,
      user,
    ])
    const known = this.#remembered.get(key)
    if (known) return known
    const decision = this.#evaluate(request, this.#context(request))
    if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear()
    this.#remembered.set(key, decision)
    return decision
  }

  /** Whether a decision holds for every request with the same principal, action, resource, labels, approvals, user and newDestination. */
  isSteady(action: Action, resource: PolicyRequest['resource']): boolean {
    return !this.#isVolatile(action, { type: resource.type, id: resource.name })
  }

  #evaluate(request: PolicyRequest, context: Context): Decision {
    const principal = { type: request.principal.type, id: request.principal.name }
    const resource = { type: request.resource.type, id: request.resource.name }
    const tenant = { type: 'Tenant', id: request.tenant }
    const entities: EntityJson[] = [
      { uid: tenant, attrs: {}, parents: [] },
      { uid: principal, attrs: { name: request.principal.name }, parents: [tenant] },
    ]
    if (resource.type !== principal.type || resource.id !== principal.id) {
      const { name, effect, approved = true } = request.resource
      const ofTool: EntityJson['attrs'] = resource.type === 'Tool' ? { approved } : {}
      entities.push({
        uid: resource,
        attrs: effect === undefined ? { name } : { name, effect, ...ofTool },
        parents: resource.type === 'Agent' ? [tenant] : [],
      })
    }
    const deny = (error: string): Decision => ({ effect: 'deny', policies: [], set: this.hash, errors: [error] })
    const answer = statefulIsAuthorized({
      principal,
      action: { type: 'Action', id: request.action },
      resource,
      context,
      entities,
      preparsedPolicySetId: this.hash,
      preparsedSchemaName: this.hash,
      validateRequest: true,
    })
    if (answer.type === 'failure') return deny(answer.errors.map((error) => error.message).join('; '))
    const { decision, diagnostics } = answer.response
    const policies = [...diagnostics.reason].sort()
    const errors = diagnostics.errors.map(({ policyId, error }) => `${policyId}: ${error.message}`)
    // Cedar skips a policy that errs. A forbid that cannot be evaluated must not let a step through.
    if (errors.length > 0) return { effect: 'deny', policies, set: this.hash, errors }
    if (decision === 'allow') return { effect: 'allow', policies, set: this.hash }
    const role = this.#roleToAsk(policies, request.approvals)
    if (role === undefined) return { effect: 'deny', policies, set: this.hash }
    // A person is asked only when the answer can matter: were it given, would the step be allowed, or another asked?
    const approvals = [...request.approvals, role]
    const approved = this.#evaluate({ ...request, approvals }, { ...context, approvals })
    if (approved.effect === 'deny') return { effect: 'deny', policies, set: this.hash }
    return { effect: 'ask', policies, set: this.hash, role }
  }

  /** The role to ask when every policy that decided is a forbid with `@ask`: the first that has not approved yet. */
  #roleToAsk(policies: readonly string[], approvals: readonly string[]): string | undefined {
    const roles = policies.map((id) => this.#policies.get(id)?.ask)
    if (roles.includes(undefined)) return undefined
    return roles.sort().find((role) => role !== undefined && !approvals.includes(role))
  }

  /** Why Cedar cannot be asked: a number that it would have to round. Undefined when it can. */
  problem({ action, spentUsd, input }: Pick<PolicyRequest, 'action' | 'spentUsd' | 'input'>): string | undefined {
    if (!isDecimal(spentUsd)) return 'spent cannot be represented in Cedar'
    if (action !== 'tool:call') return undefined
    const fields = fieldsOf(input)
    for (const field of Object.keys(fields)) {
      const value = fields[field]
      const type = this.#inputTypes.get(field)
      if (type && value != null && !fits(value, type)) return `input.${field} cannot be represented in Cedar`
    }
    return undefined
  }

  /** What policies see besides who, what and where; of the input, the fields that the schema knows. */
  #context(request: PolicyRequest): Context {
    const context: Context = {
      labels: [...request.labels],
      approvals: [...request.approvals],
      user: request.user,
      spent: decimal(request.spentUsd),
    }
    if (request.action !== 'tool:call') return context
    const values: Record<string, CedarValueJson> = {}
    for (const [field, value] of Object.entries(fieldsOf(request.input))) {
      const type = this.#inputTypes.get(field)
      if (type && value != null) values[field] = cedarValue(value, type)
    }
    context.input = values
    context.newDestination = request.newDestination ?? false
    return context
  }
}

const NO_FIELDS = Object.freeze({})

/** The fields of an input; none where it is no object. */
function fieldsOf(input: Json | undefined): { readonly [field: string]: Json | undefined } {
  return input == null || typeof input !== 'object' || Array.isArray(input) ? NO_FIELDS : input
}

/** Whether a value can be given to Cedar exactly (a decimal: to four digits after the point). */
function fits(value: Json, type: InputType): boolean {
  switch (type.type) {
    case 'String':
      return typeof value === 'string'
    case 'Boolean':
      return typeof value === 'boolean'
    case 'Long':
      return Number.isSafeInteger(value)
    case 'Extension':
      return typeof value === 'number' && isDecimal(value)
    case 'Set':
      return Array.isArray(value) && value.every((item) => fits(item, type.element))
  }
}

/** A value that fits, as Cedar takes it. */
function cedarValue(value: Json, type: InputType): CedarValueJson {
  if (type.type === 'Set' && Array.isArray(value)) return value.map((item) => cedarValue(item, type.element))
  if (type.type === 'Extension') return decimal(Number(value))
  return value as string | boolean | number // the types that are left, by `fits`
}

/** Beyond this a double has no four digits after the point. */
function isDecimal(value: number): boolean {
  return Math.abs(value) <= 2 ** 53 / 10_000
}

/** Cedar's decimal has four digits after the point; more are rounded. */
function decimal(value: number): CedarValueJson {
  return { __extn: { fn: 'decimal', arg: value.toFixed(4) } }
}

/** Where a place in a source (in UTF-8 bytes, as Cedar counts) is for a reader: file, line and column from 1. */
function place(source: PolicySource, offset: number): string {
  const before = Buffer.from(source.text).subarray(0, offset).toString()
  return `${source.file}:${before.split('\n').length}:${before.length - before.lastIndexOf('\n')}`
}

/**
 * The statements of a policy text that Cedar has parsed, in order, with their offsets in UTF-8 bytes.
 * Cedar gives them too, but without their places and sorted as text: the tenth before the second.
 */
function statements(text: string): { text: string; offset: number }[] {
  const found: { text: string; offset: number }[] = []
  let start = -1
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|\/\/[^\n\r]*|\s+|[^"/\s;]+|./gs)) {
    if (start < 0 && (token.trim() === '' || token.startsWith('//'))) continue
    if (start < 0) start = index
    if (token !== ';') continue
    found.push({ text: text.slice(start, index + 1), offset: Buffer.byteLength(text.slice(0, start)) })
    start = -1
  }
  return found
}

/**
 * Parses policies, checks them against the schema made from the app's agents and tools, and gives the
 * set. Each policy's id is its `@id` annotation, else its file's name and its number there.
 *
 * @throws MusterError `policy.invalid` with file, line and column of each mistake
 */
export function loadPolicies(sources: readonly PolicySource[], app: AppManifest): PolicySet {
  const { schema, inputTypes } = cedarSchema(app)
  const issues: Issue[] = []
  const texts: Record<string, string> = {}
  const policies = new Map<string, Policy>()
  const origins = new Map<string, { source: PolicySource; offset: number }>()
  const report = (source: PolicySource, offset: number, error: DetailedError) => {
    const help = error.help ? ` (${error.help})` : ''
    issues.push({
      path: place(source, offset + (error.sourceLocations?.[0]?.start ?? 0)),
      message: error.message + help,
    })
  }
  for (const source of sources) {
    const parts = policySetTextToParts(source.text)
    if (parts.type === 'failure') {
      for (const error of parts.errors) report(source, 0, error)
      continue
    }
    for (const [i, { text, offset }] of statements(source.text).entries()) {
      const parsed = policyToJson(text)
      if (parsed.type === 'failure') {
        for (const error of parsed.errors) report(source, offset, error)
        continue
      }
      const { annotations = {} } = parsed.json
      const id = annotations.id ?? `${source.file}#${i + 1}`
      const reject = (message: string) => issues.push({ path: place(source, offset), message })
      if (policies.has(id)) reject(`another policy has the id "${id}"`)
      if (annotations.ask !== undefined && parsed.json.effect !== 'forbid') reject('@ask belongs to a forbid')
      texts[id] = text
      policies.set(id, { ask: annotations.ask, json: parsed.json })
      origins.set(id, { source, offset })
    }
  }
  if (issues.length === 0) {
    const answer = validate({ schema, policies: { staticPolicies: texts } })
    if (answer.type === 'failure') {
      for (const error of answer.errors) issues.push({ path: sources[0]?.file ?? '', message: error.message })
    } else {
      for (const { policyId, error } of answer.validationErrors) {
        const origin = origins.get(policyId)
        if (origin) report(origin.source, origin.offset, error)
        else issues.push({ path: policyId, message: error.message })
      }
    }
  }
  if (issues.length > 0) {
    // Cedar gives them in no order.
    issues.sort((a, b) => a.path.localeCompare(b.path, 'en', { numeric: true }))
    const detail = issues.map((issue) => `${issue.path}: ${issue.message}`).join('\n')
    throw new MusterError('policy.invalid', detail, { issues })
  }
  const id = hash('sha256', JSON.stringify([texts, schema]), 'hex')
  const parsed = preparsePolicySet(id, { staticPolicies: texts })
  if (parsed.type === 'failure')
    throw new MusterError('policy.invalid', parsed.errors.map((error) => error.message).join('; '))
  const schemaParsed = preparseSchema(id, schema)
  if (schemaParsed.type === 'failure')
    throw new MusterError('policy.invalid', schemaParsed.errors.map((error) => error.message).join('; '))
  return new PolicySet(id, policies, inputTypes)
}
