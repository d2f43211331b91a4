import type { KeyHolder, Run, Waiting } from '@muster/protocol'
import { mayHave } from './me.ts'

/** What is shown of a run that asks. */
export type Asking = Pick<Run, 'id' | 'name' | 'version' | 'by' | 'createdAt'>

/**
 * Why an answer of somebody would not be taken, or only a refusal: nothing where it may be. The server decides, and knows
 * more; nobody is to read all of a question first, and hear it then.
 */
export function whyNot(
  me: KeyHolder | undefined,
  { by }: Pick<Asking, 'by'>,
  { role = 'operator', escalated, rule, approvals = [] }: Pick<Waiting, 'role' | 'escalated' | 'rule' | 'approvals'>,
): { toAnswer?: string; toApprove?: string } {
  if (!me) return {}
  if (me.service) return { toAnswer: 'Approvals are given by people, and this key belongs to a service.' }
  const roles = escalated === undefined ? [role] : [role, escalated]
  if (!roles.some((one) => mayHave(me, one))) return { toAnswer: `Your key has not the role ${roles.join(' or ')}.` }
  if (rule?.requester === false && by.user === me.user)
    return { toApprove: 'You began it: somebody else must approve it.' }
  if (approvals.some(({ by }) => by === me.user))
    return { toApprove: 'You have approved it: somebody else must as well.' }
  return {}
}
