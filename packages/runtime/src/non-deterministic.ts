import { MusterError } from '@muster/protocol'

/** The error of a plan that does other things on replay than its journal tells; `what` names the step. */
export function changed(what: string): MusterError {
  return new MusterError('plan.non_deterministic', what)
}
