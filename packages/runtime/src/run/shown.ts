import type { Approval, Json, Label } from '@muster/protocol'
import type { StepState } from '../step/step.ts'

/** What an approver is shown, as JSON. */
export function shownText(step: StepState, input: Json, labels: readonly Label[]): string {
  const { kind, target } = step.spec.operation
  return JSON.stringify({ step: step.spec.id, kind, target, input, labels })
}

/** What would have been shown with another input. */
export function editedShown(shown: string, input: Json): string {
  return JSON.stringify({ ...JSON.parse(shown), input })
}

/** Who has approved, of exactly what was shown. */
export function approvalsOf({ verdicts }: Pick<StepState, 'verdicts'>, shown: string | undefined): Approval[] {
  return verdicts.flatMap(({ verdict, doubt, shownText, role, by, hands }) =>
    verdict === 'approve' && !doubt && shownText === shown ? [{ role, by, hands }] : [],
  )
}
