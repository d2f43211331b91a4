import {
  type AuthorizationAnswer,
  type EntityJson,
  preparsePolicySet,
  preparseSchema,
  type SchemaJson,
  statefulIsAuthorized,
} from '@cedar-policy/cedar-wasm/nodejs'
import { MusterError } from '@muster/protocol'
import type { Request, Verdict } from './cedar/compiled.ts'
import { writeRecord, writeUid } from './cedar/json.ts'
import { type CedarRecord, EvaluationFailure, isRecord, type Value } from './cedar/value.ts'

/** What stands in place of a policy's id where the question itself cannot be asked. */
const NO_POLICY = '-'

/**
 * Where a policy asks whether something is there, or takes all of it, and does not only read a field: what was left out
 * would be taken for absent.
 */
const ASKS_WHETHER = /\b(?:context|history)\b(?!\s*\.\s*\w)/

/** Decides by cedar-wasm, in place of the compiled policies: slower, and another program. */
export class Reference {
  readonly #set: string
  readonly #asksWhether: boolean

  /** @throws MusterError `policy.invalid` when cedar-wasm does not take the set */
  constructor(set: string, texts: Readonly<Record<string, string>>, schema: SchemaJson<string>) {
    this.#set = set
    this.#asksWhether = Object.values(texts).some((text) => ASKS_WHETHER.test(text.replaceAll(/@\w+\s*\([^)]*\)/g, '')))
    prepareCedar(set, texts, schema)
  }

  decide(question: Request): Verdict {
    const { known, isCut } = knownOf(question.context)
    const isWhole = !isCut
    if (!isWhole && this.#asksWhether) return refused('what it depends on was not recorded')
    const answer = isWhole ? askCedar(this.#set, question) : askCedar(this.#set, { ...question, context: known }, false)
    if (answer.type === 'failure') return refused(answer.errors.map(({ message }) => message).join('; '))
    const { decision, diagnostics } = answer.response
    // What was left out fails whoever reads it: what nobody reads makes no difference.
    const errors = diagnostics.errors.map(({ policyId, error }) => ({
      policyId,
      message: isWhole ? error.message : 'what it reads was not recorded',
    }))
    return { decision, reasons: diagnostics.reason.toSorted(), errors }
  }
}

/** The fields that can be read, and of those that are records of terms the terms. */
function knownOf(context: CedarRecord): { known: CedarRecord; isCut: boolean } {
  const known: Record<string, Value> = {}
  let isCut = false
  for (const name of Object.keys(context)) {
    try {
      const value = context[name]
      writeRecord({ value: value ?? '' })
      if (value !== undefined) known[name] = value
    } catch (error) {
      if (!(error instanceof EvaluationFailure)) throw error
      isCut = true
      const terms = name === 'history' ? context[name] : undefined
      if (terms !== undefined && isRecord(terms)) known[name] = knownOf(terms).known
    }
  }
  return { known, isCut }
}

function refused(message: string): Verdict {
  return { decision: 'deny', reasons: [], errors: [{ policyId: NO_POLICY, message }] }
}

/** Has cedar-wasm read a set. @throws MusterError `policy.invalid` when it does not take it */
export function prepareCedar(set: string, texts: Readonly<Record<string, string>>, schema: SchemaJson<string>): void {
  for (const parsed of [preparsePolicySet(set, { staticPolicies: texts }), preparseSchema(set, schema)]) {
    if (parsed.type === 'failure')
      throw new MusterError('policy.invalid', parsed.errors.map(({ message }) => message).join('; '))
  }
}

/** What cedar-wasm answers. @throws EvaluationFailure where the question has no form that cedar-wasm can be asked in */
export function askCedar(
  set: string,
  { principal, action, resource, context, entities }: Request,
  isTyped = true,
): AuthorizationAnswer {
  return statefulIsAuthorized({
    principal: writeUid(principal),
    action: writeUid(action),
    resource: writeUid(resource),
    context: writeRecord(context),
    entities: [principal, resource].flatMap(({ key }, i): EntityJson[] => {
      const entity = entities.get(key)
      if (entity === undefined || (i === 1 && key === principal.key)) return []
      const parents = [...entity.ancestors].flatMap((key) => entities.get(key)?.uid ?? []).map(writeUid)
      return [{ uid: writeUid(entity.uid), attrs: writeRecord(entity.attributes), parents }]
    }),
    preparsedPolicySetId: set,
    // With the schema all that it names must be there.
    ...(isTyped ? { preparsedSchemaName: set } : {}),
  })
}
