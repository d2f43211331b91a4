import {
  type AuthorizationAnswer,
  type AuthorizationCall,
  type CheckParseAnswer,
  isAuthorized as cedarIsAuthorized,
  preparsePolicySet as cedarPreparsePolicySet,
  preparseSchema as cedarPreparseSchema,
  statefulIsAuthorized as cedarStatefulIsAuthorized,
  type DetailedError,
  type PolicySet,
  type Schema as SchemaSource,
  type StatefulAuthorizationCall,
} from '@cedar-policy/cedar-wasm/nodejs'
import { LRUCache } from 'lru-cache'
import { CompiledPolicies, type Request } from './compiled.ts'
import { readEntities } from './entities.ts'
import { Irregular } from './irregular.ts'
import { readRecord, readUid } from './json.ts'
import { readPolicies } from './policies.ts'
import { readSchema, type Schema } from './schema.ts'
import type { Uid } from './value.ts'

/**
 * The functions of cedar-wasm that decide, with its names, inputs and answers, over compiled policies.
 * Beyond what it takes, integers may be bigints; so none is ever rounded.
 *
 * What Cedar refuses (text that does not parse, entities against the schema) is refused in Cedar's own
 * words: such a call is handed on to cedar-wasm.
 */
export function isAuthorized(call: AuthorizationCall): AuthorizationAnswer {
  return answer(
    () => decide(compiledOf(call.policies), call, call.schema === undefined ? undefined : schemaOf(call.schema)),
    () => cedarIsAuthorized(call),
  )
}

const policySets = new Map<string, CompiledPolicies>()
const schemas = new Map<string, Schema>()

/** Compiles a set of policies for `statefulIsAuthorized`, under a name. */
export function preparsePolicySet(name: string, policies: PolicySet): CheckParseAnswer {
  policySets.delete(name)
  return prepare(
    () => policySets.set(name, new CompiledPolicies(readPolicies(policies))),
    () => cedarPreparsePolicySet(name, policies),
  )
}

/** Reads a schema for `statefulIsAuthorized`, under a name. */
export function preparseSchema(name: string, schema: SchemaSource): CheckParseAnswer {
  schemas.delete(name)
  return prepare(
    () => schemas.set(name, readSchema(schema)),
    () => cedarPreparseSchema(name, schema),
  )
}

/** Decides by policies, and a schema where one is named, that were prepared before. */
export function statefulIsAuthorized(call: StatefulAuthorizationCall): AuthorizationAnswer {
  return answer(
    () => {
      const policies = policySets.get(call.preparsedPolicySetId)
      if (policies === undefined) throw new Irregular(`no policy set is prepared as "${call.preparsedPolicySetId}"`)
      const name = call.preparsedSchemaName
      const schema = name === undefined ? undefined : schemas.get(name)
      if (name !== undefined && schema === undefined) throw new Irregular(`no schema is prepared as "${name}"`)
      return decide(policies, call, schema)
    },
    () => cedarStatefulIsAuthorized(call),
  )
}

type Question = Omit<StatefulAuthorizationCall, 'preparsedPolicySetId' | 'preparsedSchemaName'>

function decide(policies: CompiledPolicies, question: Question, schema: Schema | undefined): AuthorizationAnswer {
  const { decision, reasons, errors } = policies.decide(readRequest(question, schema))
  return {
    type: 'success',
    response: {
      decision,
      diagnostics: {
        reason: [...reasons],
        errors: errors.map(({ policyId, message }) => ({
          policyId,
          error: detailed(`error while evaluating policy \`${policyId}\`: ${message}`),
        })),
      },
    },
    warnings: [],
  }
}

/**
 * Reads a request in Cedar's JSON form, against a schema where there is one.
 *
 * @throws Irregular with the path of what is wrong
 */
export function readRequest(question: Question, schema?: Schema): Request {
  const principal = readUid(question.principal, 'principal')
  const action = readUid(question.action, 'action')
  const resource = readUid(question.resource, 'resource')
  const applicable = schema?.actions.get(action.key)
  if (schema !== undefined) {
    if (applicable === undefined) throw new Irregular(`the schema has no action ${JSON.stringify(action.id)}`)
    if (question.validateRequest !== false) {
      check(principal, 'principal', applicable.principals, schema)
      check(resource, 'resource', applicable.resources, schema)
    }
  }
  return {
    principal,
    action,
    resource,
    context: readRecord(question.context, 'context', applicable?.context),
    entities: readEntities(question.entities, schema),
  }
}

function check(uid: Uid, what: string, types: ReadonlySet<string>, schema: Schema): void {
  if (!types.has(uid.type)) throw new Irregular(`the action does not apply to a ${what} of type ${uid.type}`)
  if (schema.types.get(uid.type)?.ids?.has(uid.id) === false)
    throw new Irregular(`the schema has no ${uid.type} ${JSON.stringify(uid.id)}`)
}

/** Sets and schemas that were compiled of late, by their text: a caller may hand over the same with each call. */
const RECENT_MAX = 64
const recentPolicies = new LRUCache<string, CompiledPolicies>({ max: RECENT_MAX })
const recentSchemas = new LRUCache<string, Schema>({ max: RECENT_MAX })

function compiledOf(policies: PolicySet): CompiledPolicies {
  return recent(recentPolicies, policies, () => new CompiledPolicies(readPolicies(policies)))
}

function schemaOf(schema: SchemaSource): Schema {
  return recent(recentSchemas, schema, () => readSchema(schema))
}

function recent<T extends object>(known: LRUCache<string, T>, source: unknown, make: () => T): T {
  const text = JSON.stringify(source, (_, value) => (typeof value === 'bigint' ? { bigint: `${value}` } : value))
  const found = known.get(text) ?? make()
  known.set(text, found)
  return found
}

function detailed(message: string): DetailedError {
  return { message, help: null, code: null, url: null, severity: null }
}

/** What is irregular is answered by Cedar itself; where it cannot even read that (a bigint), by us. */
function answer(own: () => AuthorizationAnswer, cedar: () => AuthorizationAnswer): AuthorizationAnswer {
  try {
    return own()
  } catch (error) {
    if (!(error instanceof Irregular)) throw error
    try {
      return cedar()
    } catch {
      return { type: 'failure', errors: [detailed(error.message)], warnings: [] }
    }
  }
}

function prepare(own: () => unknown, cedar: () => CheckParseAnswer): CheckParseAnswer {
  let irregular: Irregular | undefined
  try {
    own()
  } catch (error) {
    if (!(error instanceof Irregular)) throw error
    irregular = error
  }
  // Cedar keeps it too: it answers the calls that are irregular.
  try {
    return cedar()
  } catch {
    return irregular === undefined ? { type: 'success' } : { type: 'failure', errors: [detailed(irregular.message)] }
  }
}
