import type { Decision, DecisionTarget } from '@muster/protocol'

/** Where a model call may go, as policies see it. */
export type ModelTarget = Pick<DecisionTarget, 'name' | 'provider' | 'model' | 'region'>

/** Fields of the context of `model:invoke` that are of the target. */
export const TARGET_FIELDS = ['provider', 'model', 'region'] as const

/** Whether a policy, as Cedar parses it, reads something of the target. */
export function readsTarget(node: unknown): boolean {
  if (node === null || typeof node !== 'object') return false
  if (Array.isArray(node)) return node.some(readsTarget)
  const { left, attr } = node as { left?: { Var?: unknown }; attr?: unknown }
  const isOfTarget = left?.Var === 'context' && TARGET_FIELDS.some((field) => field === attr)
  return isOfTarget || Object.values(node).some(readsTarget)
}

/**
 * What is said of a call by what is said of each place that it may go to: allowed where it may go to one, asked where it
 * could with an approval, else denied by all that deny it.
 */
export function joinTargets(all: readonly { target: ModelTarget; decision: Decision }[]): Decision {
  const best =
    all.find(({ decision }) => decision.effect === 'allow') ?? all.find(({ decision }) => decision.effect === 'ask')
  const decisions = all.map(({ decision }) => decision)
  const history = Object.assign({}, ...decisions.map((one) => one.history))
  const errors = decisions.flatMap((one) => one.errors ?? [])
  const [first] = decisions
  return {
    ...(best?.decision ?? {
      effect: 'deny',
      policies: unique(decisions.flatMap(({ policies }) => policies)),
      set: first?.set ?? '',
      ...(errors.length > 0 ? { errors: unique(errors) } : {}),
    }),
    ...(Object.keys(history).length > 0 ? { history } : {}),
    targets: all.map(({ target, decision: { effect, policies, errors } }) => ({
      ...{ ...target, effect, policies },
      ...(errors ? { errors } : {}),
    })),
  }
}

/** Why a call may not go to targets of its route, by their places there. */
export function refusedTargets({ targets = [] }: Pick<Decision, 'targets'>): ReadonlyMap<number, string> {
  return new Map(
    targets.flatMap(({ effect, policies, errors }, at) => {
      if (effect === 'allow') return []
      const names = policies.map((id) => `"${id}"`).join(', ')
      const why = errors?.join('; ') ?? (names === '' ? 'no policy permits it' : `denied by policy ${names}`)
      return [[at, why] as const]
    }),
  )
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)]
}
