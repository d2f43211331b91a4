import {
  type PolicyJson,
  type PolicySet,
  preparsePolicySet,
  preparseSchema,
  statefulIsAuthorized,
} from '@cedar-policy/cedar-wasm/nodejs'
import { readRequest } from '../authorizer.ts'
import { CompiledPolicies, type Verdict } from '../compiled.ts'
import { Irregular } from '../irregular.ts'
import { outcomeOf, outcomeOfCedar } from '../outcome.ts'
import { readPolicies } from '../policies.ts'
import { readSchema } from '../schema.ts'
import { cedarText } from './cedar-text.ts'
import { RandomCedar } from './random-cedar.ts'
import { RandomConforming, SCHEMA } from './random-conforming.ts'

/** What a comparison with cedar-wasm saw. */
export interface Compared {
  /** Policies times requests whose outcome was compared. */
  pairs: number
  calls: number
  satisfied: number
  erred: number
  allowed: number
  /** Calls that both refused. */
  refused: number
  /** Seeds and what differed: none, or there is a defect. */
  differences: string[]
}

const POLICIES = 50
const REQUESTS = 50
const DIFFERENCES_MAX = 5
const REFUSED = 'refused'
const EFFECTS = ['permit', 'forbid', undefined] as const

/**
 * Compares compiled policies with cedar-wasm on random sets and requests, from the seed on. Of a set
 * whose policies all have one effect, the answer names every policy that is satisfied and every one that
 * erred, so each policy is compared on its own; every third set is mixed, where the decision counts.
 */
export function compare(seed: number, pairs: number): Compared {
  const seen: Compared = { pairs: 0, calls: 0, satisfied: 0, erred: 0, allowed: 0, refused: 0, differences: [] }
  for (; seen.pairs < pairs && seen.differences.length < DIFFERENCES_MAX; seed++) {
    const random = new RandomCedar(seed)
    const effect = EFFECTS[seed % EFFECTS.length]
    const { written, texts } = randomSet(random, effect)
    const parsed = preparsePolicySet('differential', texts)
    if (parsed.type === 'failure') throw new Error(`seed ${seed}: ${parsed.errors[0]?.message}`)
    const policies = new CompiledPolicies(readPolicies(written))
    const conforming = seed % 2 === 0 ? new RandomConforming(random, schema()) : undefined
    for (let i = 0; i < REQUESTS; i++) {
      const question = conforming?.question() ?? {
        principal: random.uid(),
        action: { type: 'Action', id: random.one(['a', 'b', 'c']) },
        resource: random.uid(),
        context: random.record(2, random.chance(10)),
        entities: random.entities(random.chance(10)),
      }
      const theirs = statefulIsAuthorized({
        ...question,
        preparsedPolicySetId: 'differential',
        ...(conforming ? { preparsedSchemaName: 'differential' } : {}),
      })
      const [expected, found] = [
        outcomeOfCedar(theirs) ?? REFUSED,
        own(() => policies.decide(readRequest(question, conforming?.schema))),
      ]
      if (expected !== found) seen.differences.push(`seed ${seed}, request ${i}: cedar ${expected}, compiled ${found}`)
      seen.calls++
      seen.pairs += POLICIES
      if (theirs.type === 'failure') seen.refused++
      else {
        const { decision, diagnostics } = theirs.response
        seen.satisfied += diagnostics.reason.length
        seen.erred += diagnostics.errors.length
        if (decision === 'allow') seen.allowed++
      }
    }
  }
  return seen
}

let read: ReturnType<typeof readSchema> | undefined

function schema(): ReturnType<typeof readSchema> {
  if (read === undefined) {
    const parsed = preparseSchema('differential', SCHEMA)
    if (parsed.type === 'failure') throw new Error(parsed.errors[0]?.message)
    read = readSchema(SCHEMA)
  }
  return read
}

/** A set as the compiler gets it, by turns as text and as JSON with exact integers, and as Cedar does: as text. */
function randomSet(
  random: RandomCedar,
  effect: 'permit' | 'forbid' | undefined,
): { written: PolicySet; texts: PolicySet } {
  const written = { staticPolicies: {}, templates: {}, templateLinks: [] } as Required<PolicySet>
  const texts = { staticPolicies: {}, templates: {}, templateLinks: written.templateLinks } as Required<PolicySet>
  for (let i = 0; i < POLICIES; i++) {
    const slots = { principal: random.chance(15), resource: random.chance(15) }
    const isTemplate = slots.principal || slots.resource
    const policy = random.policy(effect ?? random.one(['permit', 'forbid']), slots)
    const into = isTemplate ? 'templates' : 'staticPolicies'
    const text = cedarText(policy)
    const id = isTemplate ? `template${i}` : `policy${i}`
    add(texts[into], id, text)
    add(written[into], id, random.chance(50) ? text : policy)
    if (!isTemplate) continue
    written.templateLinks.push({
      templateId: id,
      newId: `link${i}`,
      values: {
        ...(slots.principal ? { '?principal': random.uid() } : {}),
        ...(slots.resource ? { '?resource': random.uid() } : {}),
      },
    })
  }
  return { written, texts }
}

function add(to: Required<PolicySet>['staticPolicies' | 'templates'], id: string, policy: PolicyJson | string): void {
  if (typeof to === 'object' && !Array.isArray(to)) to[id] = policy
}

function own(decide: () => Verdict): string {
  try {
    return outcomeOf(decide())
  } catch (error) {
    if (error instanceof Irregular) return REFUSED
    throw error
  }
}
