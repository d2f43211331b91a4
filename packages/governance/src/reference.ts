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
import { EvaluationFailure } from './cedar/value.ts'

/** What stands in place of a policy's id where the question itself cannot be asked. */
const NO_POLICY = '-'

/** Decides by cedar-wasm, in place of the compiled policies: slower, and another program. */
export class Reference {
  readonly #set: string

  /** @throws MusterError `policy.invalid` when cedar-wasm does not take the set */
  constructor(set: string, texts: Readonly<Record<string, string>>, schema: SchemaJson<string>) {
    this.#set = set
    prepareCedar(set, texts, schema)
  }

  decide(question: Request): Verdict {
    let answer: AuthorizationAnswer
    try {
      answer = askCedar(this.#set, question)
    } catch (error) {
      if (error instanceof EvaluationFailure) return refused(error.message)
      throw error
    }
    if (answer.type === 'failure') return refused(answer.errors.map(({ message }) => message).join('; '))
    const { decision, diagnostics } = answer.response
    const errors = diagnostics.errors.map(({ policyId, error }) => ({ policyId, message: error.message }))
    return { decision, reasons: diagnostics.reason.toSorted(), errors }
  }
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

/** @throws EvaluationFailure where the question has no form that cedar-wasm can be asked in */
export function askCedar(
  set: string,
  { principal, action, resource, context, entities }: Request,
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
    preparsedSchemaName: set,
  })
}
