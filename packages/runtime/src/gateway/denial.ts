import type { PolicySet } from '@muster/governance'
import type { Decision } from '@muster/protocol'

/** What a client is told of what it may not do: which policy says so, what that says of itself, and whom to ask. */
export function denialOf(what: string, decision: Decision, set: PolicySet, run?: string): string {
  const policies = decision.policies.flatMap((id) => set.policies.get(id) ?? [])
  const messages = policies.flatMap(({ message }) => message ?? [])
  const contacts = [...new Set(policies.flatMap(({ contact }) => contact ?? []))]
  const names = decision.policies.map((id) => `"${id}"`).join(', ')
  const why = messages.length === 0 ? '' : ` ${messages.map(sentence).join(' ')}`
  const whom = contacts.length === 0 ? 'whoever looks after the policies' : contacts.join(' or ')
  return `${rule(what, decision, names)}${why} Ask ${whom}${run === undefined ? '' : `, and name run ${run}`}.`
}

function rule(what: string, { effect, errors, role }: Decision, names: string): string {
  if (errors) return `${what} is denied, since policies could not be evaluated: ${sentence(errors.join('; '))}`
  if (effect === 'ask')
    return `Policy ${names} lets ${what} through only with the approval of "${role}", for which a call through the gateway cannot wait.`
  return names === '' ? `No policy permits ${what}.` : `Policy ${names} denies ${what}.`
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}
