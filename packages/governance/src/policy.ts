import type { SchemaJson } from '@cedar-policy/cedar-wasm/nodejs'
import {
  type AppManifest,
  type ApprovalRule,
  areApart,
  type Decision,
  type PolicyMode,
  type PolicySource,
  type PublishedPolicies,
} from '@muster/protocol'
import { type Ask, strictest } from './ask.ts'
import { CompiledPolicies, type Request, type Verdict } from './cedar/compiled.ts'
import { readPolicies } from './cedar/policies.ts'
import type { CedarRecord } from './cedar/value.ts'
import { History } from './history.ts'
import type { Term } from './history-term.ts'
import { HistoryTerms } from './history-terms.ts'
import { Questions } from './question.ts'
import { Reference } from './reference.ts'
import type { PolicyRequest } from './request.ts'
import type { InputType } from './schema.ts'
import { Shadow, type ShadowOptions } from './shadow.ts'
import { joinTargets } from './target.ts'

/** One policy of a set. */
export interface Policy {
  /** Who may lift a forbid, by its annotations. */
  ask: Ask | undefined
  /** In Cedar's syntax. */
  text: string
  effect: 'permit' | 'forbid'
  mode: PolicyMode
  /** What whoever is denied is told, by `@message`, and whom to ask, by `@contact`. */
  message?: string | undefined
  contact?: string | undefined
  /** Where it stands: file, line and column. */
  at: string
}

/** What a set was made of. */
interface Origin {
  schema: SchemaJson<string>
  inputTypes: ReadonlyMap<string, InputType>
  sources: readonly PolicySource[]
  app: AppManifest
  terms: readonly Term[]
  /** Policies look at where a model call goes. */
  ofTarget: boolean
  /** cedar-wasm itself in place of the compiled policies, for who checks them. */
  by?: 'cedar-wasm' | undefined
}

const ALLOWED_MAX = 1_000
const NOBODY: readonly string[] = []

/** The decision, with what it would have been where that is another effect. */
function tried(decision: Decision, { effect, policies, role, errors }: Decision): Decision {
  if (effect === decision.effect) return decision
  const trial = { effect, policies, ...(role === undefined ? {} : { role }), ...(errors ? { errors } : {}) }
  return { ...decision, trial }
}

function withApprovals(question: Request, approvals: readonly string[]): Request {
  return { ...question, context: { ...question.context, approvals } }
}

/**
 * A checked set of Cedar policies. Decides by Cedar's rules: deny unless a policy permits and none
 * forbids. A forbid with `@ask("role")` turns the deny into `ask` when the role's approval, which
 * `context.approvals` then holds, would let the step through: nothing else forbids it and something
 * permits it. Several roles are asked one after the other. A role counts as having approved when as many
 * of its people have as the policies that ask it want; see `readAsk`.
 *
 * Log-only policies decide nothing: a decision says in its `trial` what it would be with them.
 */
export class PolicySet {
  /** Hash of policies and schema: recorded with every decision. */
  readonly hash: string
  /** All of them by their ids, the log-only ones too. */
  readonly policies: ReadonlyMap<string, Policy>
  readonly sources: readonly PolicySource[]
  /** The app whose tools the schema was made from. */
  readonly app: AppManifest
  /** Those that decide. */
  readonly #policies: ReadonlyMap<string, Policy>
  /** All of them as if they were enforced; undefined where all are. */
  readonly #trial: PolicySet | undefined
  readonly #compiled: Pick<CompiledPolicies, 'decide'>
  readonly #schema: SchemaJson<string>
  /** What allows, by its policies: one object for all who get it, which need not be written out twice either. */
  readonly #allowed = new Map<string, Decision>()
  #shadow: Shadow | undefined
  readonly #questions: Questions
  /** What its policies want to know of what happened before; undefined where they ask nothing of it. */
  readonly history: HistoryTerms | undefined
  /** Whether its policies look at where a model call goes: then each target of a route is decided on. */
  readonly ofTarget: boolean
  /** Of runs that have none. */
  readonly #noPast: History | undefined

  constructor(hash: string, policies: ReadonlyMap<string, Policy>, origin: Origin) {
    const { schema, inputTypes, sources, app, terms, ofTarget } = origin
    this.hash = hash
    this.policies = policies
    this.ofTarget = ofTarget
    this.sources = sources
    this.app = app
    const enforced = new Map([...policies].filter(([, { mode }]) => mode === 'enforced'))
    this.#policies = enforced
    if (enforced.size < policies.size) {
      const all = [...policies].map(([id, policy]) => [id, { ...policy, mode: 'enforced' }] as const)
      this.#trial = new PolicySet(hash, new Map(all), origin)
    }
    this.#schema = schema
    // In the order of their ids, in which a decision names them.
    const texts = Object.fromEntries(
      [...enforced].map(([id, { text }]) => [id, text] as const).sort(([a], [b]) => (a < b ? -1 : 1)),
    )
    this.#compiled =
      origin.by === 'cedar-wasm'
        ? new Reference(`${hash} ${enforced.size}`, texts, schema)
        : new CompiledPolicies(readPolicies({ staticPolicies: texts }))
    this.#questions = new Questions(inputTypes, ofTarget)
    if (terms.length === 0) return
    this.history = new HistoryTerms(terms)
    this.#noPast = new History(this.history)
  }

  /** Has some decisions made by cedar-wasm as well; see `ShadowOptions`. */
  shadow(options: ShadowOptions): void {
    this.#shadow = new Shadow(this.hash, this.#policies, this.#schema, options)
  }

  /** All that is needed to load it again, as workers publish it. */
  get published(): Omit<PublishedPolicies, 'firstSeen'> {
    const { hash, sources, app } = this
    const policies = [...this.policies].map(([id, { effect, mode }]) => ({ id, effect, mode }))
    return { hash, policies, sources: [...sources], app }
  }

  decide(request: PolicyRequest): Decision {
    const decision = this.#overTargets(request)
    return this.#trial === undefined ? decision : tried(decision, this.#trial.decide(request))
  }

  #overTargets(request: PolicyRequest): Decision {
    const { action, targets } = request
    if (!this.ofTarget || action !== 'model:invoke' || !targets || targets.length === 0) return this.#enforce(request)
    return joinTargets(
      targets.map((target) => ({ target, decision: this.#enforce({ ...request, targets: [target] }) })),
    )
  }

  #enforce(request: PolicyRequest): Decision {
    if (this.#noPast === undefined) return this.#decideAsked(request)
    const { past = this.#noPast, ...about } = request.history ?? { step: '', now: 0 }
    if (past.terms.key !== this.history?.key) return this.#refuse('the past of the run is of other policies')
    const decision = this.#decideAsked(request, past.ask({ ...about, input: request.input }))
    const history = past.used()
    return history === undefined ? decision : { ...decision, history }
  }

  #refuse(why: string): Decision {
    return { effect: 'deny', policies: [], set: this.hash, errors: [why] }
  }

  #decideAsked(request: PolicyRequest, history?: CedarRecord): Decision {
    const question = this.#questions.read(request, history)
    if (typeof question === 'string') return this.#refuse(question)
    if (request.approvals.length === 0) return this.#decide(question, NOBODY)
    const roles = this.#approved(question, request)
    return this.#decide(withApprovals(question, roles), roles)
  }

  /** Roles of which enough people have approved, by what the policies want that would ask were there no approval. */
  #approved(question: Request, { approvals, user, hands }: PolicyRequest): string[] {
    const { reasons } = this.#compiled.decide(question)
    return [...new Set(approvals.map(({ role }) => role))].filter((role) => {
      const { people = 1, requester } = this.#ruleOf(reasons, role)
      const asker = { user, hands }
      const given = approvals
        .filter((one) => one.role === role)
        .filter(({ by, hands }) => requester !== false || areApart({ user: by, hands }, asker))
      return new Set(given.map(({ by }) => by)).size >= people
    })
  }

  /** What those of the policies that ask this role want together. */
  #ruleOf(ids: readonly string[], role: string): ApprovalRule {
    const asked = ids.flatMap((id) => this.#policies.get(id)?.ask ?? []).filter((ask) => ask.role === role)
    return strictest(asked.map(({ rule }) => rule))
  }

  #decide(question: Request, approvals: readonly string[]): Decision {
    const verdict = this.#compiled.decide(question)
    this.#shadow?.watch(question, verdict)
    if (verdict.decision === 'allow' && verdict.errors.length === 0) return this.#allow(verdict.reasons)
    const policies = [...verdict.reasons]
    // Cedar skips a policy that errs. A forbid that cannot be evaluated must not let a step through.
    if (verdict.errors.length > 0) {
      const errors = verdict.errors.map(({ policyId, message }) => `${policyId}: ${message}`)
      return { effect: 'deny', policies, set: this.hash, errors }
    }
    const role = this.#roleToAsk(verdict, approvals)
    if (role === undefined) return { effect: 'deny', policies, set: this.hash }
    // A person is asked only when the answer can matter: were it given, would the step be allowed, or another asked?
    const given = [...approvals, role]
    const approved = this.#decide(withApprovals(question, given), given)
    if (approved.effect === 'deny') return { effect: 'deny', policies, set: this.hash }
    const rule = this.#ruleOf(policies, role)
    return { effect: 'ask', policies, set: this.hash, role, ...(Object.keys(rule).length > 0 ? { rule } : {}) }
  }

  #allow(reasons: readonly string[]): Decision {
    const [first] = reasons
    const key = reasons.length === 1 && first !== undefined ? first : reasons.join('\n')
    const known = this.#allowed.get(key)
    if (known !== undefined) return known
    if (this.#allowed.size >= ALLOWED_MAX) this.#allowed.clear()
    const decision: Decision = { effect: 'allow', policies: [...reasons], set: this.hash }
    this.#allowed.set(key, decision)
    return decision
  }

  /** The role to ask when every policy that decided is a forbid with `@ask`: the first that has not approved yet. */
  #roleToAsk({ reasons }: Verdict, approvals: readonly string[]): string | undefined {
    const roles: string[] = []
    for (const id of reasons) {
      const role = this.#policies.get(id)?.ask?.role
      if (role === undefined) return undefined
      roles.push(role)
    }
    return roles.sort().find((role) => !approvals.includes(role))
  }
}
