import {
  decisionsOf,
  type Explanation,
  explain,
  possibleRequests,
  type RecordedDecision,
  requestOfQuestion,
} from '@muster/governance'
import { type Config, type Decision, MusterError, policyQuestion } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { plain, print } from '../output.ts'
import { readValid } from '../read-valid.ts'
import { readRun } from '../runs/run-events.ts'
import { loadSet, PublishedSets } from './policy-source.ts'

/** `muster policy explain <run> [step]`: who decided a step, and what would have allowed it. Without a step, of each that was not allowed. */
export async function explainRunCommand(
  muster: Muster,
  id: string,
  step: string | undefined,
  json: boolean,
): Promise<undefined> {
  const { events } = await readRun(muster, id)
  const sets = new PublishedSets(muster)
  await sets.read(events.flatMap(({ entry }) => ('decision' in entry && entry.decision ? entry.decision.set : [])))
  const all = decisionsOf(events, (set) => sets.get(set)?.app.tools ?? [])
  const wanted = all.filter((one) => (step === undefined ? one.decision.effect !== 'allow' : one.step === step))
  if (wanted.length === 0 && step !== undefined) {
    const steps = [...new Set(all.map((one) => one.step))].join(', ')
    throw new MusterError(
      'request.invalid',
      `no policy was asked of a step "${step}" of run ${id}; it was of: ${steps || 'none'}`,
    )
  }
  const told = wanted.map((recorded) => ({ ...about(recorded), ...explainRecorded(recorded, sets) }))
  if (json) print({ run: id, decisions: told })
  else if (told.length === 0)
    console.log(`all ${all.length} decisions of run ${id} were allow; name a step to see by which policies`)
  else
    for (const { step, target, text } of told)
      console.log(`${pc.bold(plain(step))} ${pc.dim(plain(target))}  ${plain(text)}`)
  return undefined
}

function about({ step, target, seq, decision }: RecordedDecision) {
  return { step, target, seq, decision }
}

function explainRecorded(recorded: RecordedDecision, sets: PublishedSets): Omit<Explanation, 'decision'> {
  const { decision, why = 'its own set would decide otherwise' } = recorded
  const set = sets.get(decision.set)
  const by = decision.policies.map((id) => ({ id, at: set?.policies.get(id)?.at ?? '' }))
  const alone = (reason: string) => ({ by, ways: [], nearest: [], text: `${shortText(decision)} ${reason}` })
  if (!set) return alone(`More cannot be told: the set ${decision.set.slice(0, 12)} was not published.`)
  const requests = possibleRequests(recorded, set)
  const [first, ...others] = requests.map((request) => explain(set, request, decision))
  if (!first) return alone(`What would have allowed it cannot be told: ${why}.`)
  if (decision.effect !== 'allow' && requests.some(({ unrecorded }) => unrecorded))
    return alone('What would have allowed it cannot be told: its input was not recorded.')
  if (others.some(({ text }) => text !== first.text))
    return alone('What would have allowed it cannot be told: not all that it was decided on was recorded.')
  return first
}

function shortText({ effect, policies }: Decision): string {
  return `${effect}, by ${policies.join(', ') || 'no policy'}.`
}

/** `muster policy explain --request`: the same of a question in a file, by the policies of files. */
export async function explainRequestCommand(
  config: Config,
  file: string,
  files: readonly string[],
  json: boolean,
): Promise<undefined> {
  const question = readValid(file, policyQuestion)
  const set = await loadSet(config, files)
  const explanation = explain(set, requestOfQuestion(question, set.app))
  if (json) print(explanation)
  else console.log(plain(explanation.text))
  return undefined
}
