import { type Json, MusterError, pointerOf } from '@muster/protocol'
import diff from 'microdiff'

/** Lines of a difference that are shown of either side. */
const SHOWN = 5

/**
 * The error of a plan that does other things on replay than its journal tells. `what` names the step; below it stands
 * what the journal has and the plan does not (`-`), and what the plan does and the journal does not have (`+`).
 */
export function changed(what: string, was: readonly string[] = [], is: readonly string[] = []): MusterError {
  const lines = [...shown('-', was), ...shown('+', is)]
  const legend = lines.length === 0 ? '' : ' (- in the journal, + in the plan as it is now)'
  return new MusterError('plan.non_deterministic', [`${what}${legend}`, ...lines].join('\n'))
}

/** A step as a line of the difference. */
export function stepLine(id: string, { kind, target }: { kind: string; target: string }): string {
  return `${id}: ${kind} ${target}`
}

/**
 * The error of a step that is given something else than before: each place that differs, by its JSON Pointer. Not the
 * values: an error stays in the journal when content is erased.
 */
export function changedInput(step: string, recorded: string, input: Json): MusterError {
  const was: string[] = []
  const is: string[] = []
  // Both in an object, since an input may be a plain value.
  for (const { type, path: parts } of diff({ input: JSON.parse(recorded) as Json }, { input })) {
    const path = pointerOf(parts)
    if (type === 'CHANGE') is.push(`${path} (another value)`)
    else if (type === 'CREATE') is.push(path)
    else was.push(path)
  }
  return changed(`step "${step}" is given another input than before`, was, is)
}

function shown(sign: string, lines: readonly string[]): string[] {
  const some = lines.slice(0, SHOWN).map((line) => `${sign} ${line}`)
  if (lines.length > SHOWN) some.push(`${sign} and ${lines.length - SHOWN} more`)
  return some
}
