import type { AuthorizationAnswer } from '@cedar-policy/cedar-wasm/nodejs'
import type { Verdict } from './compiled.ts'

/** What was decided, as text that is the same for the same decision, reasons and erring policies. */
export function outcomeOf({ decision, reasons, errors }: Verdict): string {
  return outcome(decision, reasons, errors)
}

/** The same of what cedar-wasm answered; undefined where it refused to. */
export function outcomeOfCedar(answer: AuthorizationAnswer): string | undefined {
  if (answer.type === 'failure') return undefined
  const { decision, diagnostics } = answer.response
  return outcome(decision, diagnostics.reason, diagnostics.errors)
}

function outcome(
  decision: string,
  reasons: readonly string[],
  errors: readonly { readonly policyId: string }[],
): string {
  const erred = errors.map(({ policyId }) => policyId).sort()
  const failed = erred.length === 0 ? '' : `, failed: ${erred.join(', ')}`
  return `${decision} by ${[...reasons].sort().join(', ') || 'none'}${failed}`
}
