import type { EntryOf, EntryType } from '@muster/protocol'
import { dateOf } from '../../output.ts'
import type { Evidence } from './evidence.ts'

export interface MappedControl {
  framework: string
  control: string
  about: string
  /** What this run shows, in its own numbers. */
  shows: string[]
  claimsNot: string
}

/**
 * What a run's journal shows of what laws and standards ask for, control by control. Each says only what was counted in
 * this run; where nothing was found it says that.
 */
export function mappedControls(evidence: Evidence): MappedControl[] {
  return [...euAiAct(evidence), ...iso42001(evidence), ...soc2(evidence)]
}

function euAiAct(evidence: Evidence): MappedControl[] {
  const framework = 'EU AI Act (Regulation (EU) 2024/1689)'
  return [
    {
      ...{ framework, control: 'Article 12(1)', about: 'Automatic recording of events' },
      shows: [recorded(evidence), chain(evidence), sealed(evidence)],
      claimsNot:
        'That this is a high-risk AI system, or that its provider meets Article 12 over its lifetime: one run is shown. How long logs are kept (Articles 19 and 26(6)) is set by the deployer and not shown here.',
    },
    {
      ...{ framework, control: 'Article 12(2)', about: 'Traceability: risks, post-market monitoring, operation' },
      shows: [decided(evidence), ended(evidence), labelled(evidence)],
      claimsNot:
        'That every situation that presents a risk within the meaning of Article 79(1) was recognised: what the policies did not ask about is recorded and not judged.',
    },
    {
      ...{
        framework,
        control: 'Article 12(3)',
        about: 'Remote biometric identification: period, database, matches, people',
      },
      shows: [period(evidence)],
      claimsNot:
        'The reference database, the matches and the verification of results: Muster records steps, and knows of none of these by itself.',
    },
    {
      ...{ framework, control: 'Article 14(1) to (3)', about: 'Effective oversight by natural persons' },
      shows: [approvals(evidence), asked(evidence)],
      claimsNot:
        'That those who answered were competent, trained and had the authority (Article 26(2)), or that the points at which people were asked are commensurate with the risks.',
    },
    {
      ...{ framework, control: 'Article 14(4)', about: 'To understand, disregard, override, intervene, stop' },
      shows: [overridden(evidence), interventions(evidence)],
      claimsNot:
        'That people were free of automation bias or understood the output: the journal has what they were shown, by its digest, and what they answered.',
    },
    {
      ...{
        framework,
        control: 'Article 14(5)',
        about: 'Verification by at least two natural persons (Annex III, 1(a))',
      },
      shows: [pairs(evidence)],
      claimsNot:
        'That two keys are two people: a person is who the deployer gave a key to. Whether the requirement applies is for the deployer to say.',
    },
  ]
}

function iso42001(evidence: Evidence): MappedControl[] {
  const framework = 'ISO/IEC 42001:2023, Annex A'
  return [
    {
      ...{ framework, control: 'A.6.2.8', about: 'AI system recording of event logs' },
      shows: [recorded(evidence), chain(evidence), sealed(evidence)],
      claimsNot:
        'At which phases of the life cycle logs are kept, or for how long: that is for the organisation to set.',
    },
    {
      ...{ framework, control: 'A.6.2.6', about: 'AI system operation and monitoring' },
      shows: [ended(evidence), cost(evidence)],
      claimsNot: 'That anybody looked, or that performance is monitored against expectations over many runs.',
    },
    {
      ...{ framework, control: 'A.7.5', about: 'Data provenance' },
      shows: [labelled(evidence), origin(evidence)],
      claimsNot:
        'Where data came from before it entered the run, nor anything of the data that models were trained on.',
    },
    {
      ...{ framework, control: 'A.9.2 to A.9.4', about: 'Responsible and intended use, human oversight' },
      shows: [decided(evidence), approvals(evidence), interventions(evidence)],
      claimsNot: 'That the policies express the intended use: the set is named by its hash, its review is elsewhere.',
    },
    {
      ...{ framework, control: 'A.3.2', about: 'Roles and responsibilities' },
      shows: [requester(evidence), roles(evidence)],
      claimsNot: 'That roles are assigned well: Muster holds keys to the roles that they were given.',
    },
  ]
}

function soc2(evidence: Evidence): MappedControl[] {
  const framework = 'SOC 2 (Trust Services Criteria, 2017)'
  return [
    {
      ...{ framework, control: 'CC6.1, CC6.3', about: 'Logical access; least privilege; separation of duties' },
      shows: [requester(evidence), decided(evidence), separated(evidence)],
      claimsNot:
        'How credentials are issued, reviewed and removed (CC6.2), or access to Redis, DynamoDB and the hosts.',
    },
    {
      ...{ framework, control: 'CC6.7', about: 'Transmission and movement of information' },
      shows: [destinations(evidence), redactedData(evidence)],
      claimsNot:
        'Encryption in transit or at rest, or that redaction found everything: it finds the kinds that it was set to.',
    },
    {
      ...{ framework, control: 'CC7.2, CC7.3', about: 'Monitoring for anomalies; evaluation of events' },
      shows: [chain(evidence), refused(evidence), failures(evidence)],
      claimsNot: 'That alerts were raised or events evaluated by people: see your SIEM and its tickets.',
    },
    {
      ...{ framework, control: 'CC7.4', about: 'Response to incidents' },
      shows: [interventions(evidence)],
      claimsNot: 'An incident response programme. What happened outside this run is not in its journal.',
    },
    {
      ...{ framework, control: 'CC8.1', about: 'Change management' },
      shows: [definition(evidence), policySets(evidence), changedTools(evidence)],
      claimsNot: 'That these versions were reviewed, tested and approved: the hashes let you find what was.',
    },
  ]
}

function entriesOf<T extends EntryType>({ events }: Evidence, ...types: T[]): EntryOf<T>[] {
  const wanted: readonly EntryType[] = types
  return events.flatMap(({ entry }) => (wanted.includes(entry.type) ? [entry as EntryOf<T>] : [])) // of one of the types
}

/** `3 steps`; `no step`. */
function count(n: number, one: string, many = `${one}s`): string {
  return n === 0 ? `no ${one}` : n === 1 ? `one ${one}` : `${n} ${many}`
}

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)]
}

function recorded({ events, attempts }: Evidence): string {
  return `${sentence(`${count(events.length, 'entry', 'entries')} of what happened, written by the runtime as it happened`)} ${sentence(`${count(attempts.length, 'attempt')} of steps among them`)}`
}

function chain({ verification: { ok, erased, findings } }: Evidence): string {
  if (!ok) return sentence(`the journal was altered: ${count(findings.length, 'finding')}`)
  return `The journal is whole: its hash chain was computed anew from its bytes.${erased === 0 ? '' : ` Content of ${erased} of its entries is not there.`}`
}

function sealed({ receipt }: Evidence): string {
  if (receipt.state === 'none') return sentence(`no receipt of the ledger: ${receipt.why}`)
  return receipt.state === 'holds'
    ? `The ledger has it: leaf ${receipt.receipt.index} of ${receipt.size}, entered ${dateOf(receipt.leaf.at)}.`
    : sentence(`the receipt of the ledger does not hold: ${receipt.why ?? ''}`)
}

function decided({ attempts }: Evidence): string {
  const of = (effect: string) => attempts.filter(({ decision }) => decision?.effect === effect).length
  const asks = attempts.filter(({ waits }) => waits.some(({ decision }) => decision?.effect === 'ask')).length
  const all = attempts.filter(({ decision }) => decision).length
  return sentence(
    `policies decided ${count(all, 'attempt')}: in the end ${of('allow')} allowed and ${of('deny')} denied; people were asked for ${asks}`,
  )
}

function ended(evidence: Evidence): string {
  const { status, error } = evidence.run
  return `Status: ${status}${error ? `, with ${error.code}` : ''}. ${failures(evidence)}`
}

function failures({ attempts }: Evidence): string {
  const failed = attempts.filter(({ status }) => status === 'failed').length
  return sentence(`${count(failed, 'attempt')} failed`)
}

function refused({ attempts }: Evidence): string {
  const denied = attempts.filter(({ status }) => status === 'denied')
  const policies = unique(denied.flatMap(({ decision }) => decision?.policies ?? []))
  const by = policies.length === 0 ? '' : `, by ${policies.join(', ')}`
  return sentence(`${count(denied.length, 'step')} ended as denied${by}`)
}

function labelled({ attempts, run }: Evidence): string {
  const labels = unique([...run.labels, ...attempts.flatMap(({ labels, outcome }) => [...labels, ...outcome])])
  const removed = unique(attempts.flatMap(({ declassified }) => declassified))
  return `${labels.length === 0 ? 'No data carried a label.' : `Data carried the labels ${labels.join(', ')}.`}${removed.length === 0 ? '' : ` Taken off by a named declassifier: ${removed.join(', ')}.`}`
}

function period({ run, events }: Evidence): string {
  const last = events.at(-1)?.entry.at ?? run.createdAt
  return `From ${dateOf(run.createdAt)} to ${dateOf(run.endedAt ?? last)}${run.endedAt === undefined ? ', and it has not ended' : ''}.`
}

function approvals(evidence: Evidence): string {
  const given = entriesOf(evidence, 'approval.given')
  if (given.length === 0) return 'Nothing: no person answered in this run.'
  const yes = given.filter(({ verdict }) => verdict === 'approve').length
  const people = unique(given.map(({ by }) => by.user)).join(', ')
  return sentence(
    `${count(yes, 'approval')} and ${count(given.length - yes, 'refusal')}, by ${people}; each bound to the digest of what was shown`,
  )
}

function asked(evidence: Evidence): string {
  const waits = entriesOf(evidence, 'step.waiting').filter((one) => one.for === 'approval' || one.for === 'doubt')
  return sentence(`people were asked ${waits.length === 0 ? 'nothing' : `for ${count(waits.length, 'decision')}`}`)
}

function overridden(evidence: Evidence): string {
  const given = entriesOf(evidence, 'approval.given')
  const no = given.filter(({ verdict }) => verdict === 'deny').length
  const edits = given.filter(({ edited }) => edited).length
  return sentence(`people refused ${count(no, 'step')} and changed ${count(edits, 'input')}`)
}

const INTERVENTIONS = ['run.stopped', 'run.paused', 'run.cancel_requested'] as const

function interventions(evidence: Evidence): string {
  const found = entriesOf(evidence, ...INTERVENTIONS)
  if (found.length === 0) return 'Nobody paused, stopped or cancelled this run.'
  return `Intervened: ${found.map((entry) => `${entry.type} by ${personOf(entry)} at ${dateOf(entry.at)}`).join('; ')}.`
}

function personOf(entry: EntryOf<(typeof INTERVENTIONS)[number]>): string {
  return typeof entry.by === 'string' ? entry.by : entry.by.user
}

function pairs(evidence: Evidence): string {
  const people = new Map<string, Set<string>>()
  for (const { step, verdict, by } of entriesOf(evidence, 'approval.given'))
    if (verdict === 'approve') people.set(step, (people.get(step) ?? new Set()).add(by.user))
  const pairs = [...people.values()].filter(({ size }) => size > 1).length
  return sentence(
    `${count(pairs, 'step')} was approved by two or more`.replace(/ was /, pairs > 1 ? ' were ' : ' was '),
  )
}

function cost({ run }: Evidence): string {
  return `Cost $${run.costUsd.toFixed(4)}, ${run.usage.inputTokens} tokens in and ${run.usage.outputTokens} out, as reported by the provider.`
}

function origin({ run }: Evidence): string {
  if (run.origin) return `It was begun from run ${run.origin.run}, after its entry ${run.origin.seq}.`
  return run.parent ? `Run ${run.parent.run} began it.` : 'It was begun by a request, from no other run.'
}

function requester({ created: { by } }: Evidence): string {
  return `Requested by ${by.user} with the key ${by.key}${by.service ? ', a service' : ''}.`
}

function roles(evidence: Evidence): string {
  const given = entriesOf(evidence, 'approval.given')
  if (given.length === 0) return 'No role was exercised.'
  return `Roles exercised: ${unique(given.map(({ by, role, as }) => `${by.user} as ${as ?? role}`)).join(', ')}.`
}

function separated(evidence: Evidence): string {
  const { user } = evidence.created.by
  const given = entriesOf(evidence, 'approval.given').filter(({ verdict }) => verdict === 'approve')
  if (given.length === 0) return 'No approval, so nothing on the separation of duties.'
  const own = given.filter(({ by }) => by.user === user).length
  return own === 0
    ? 'Whoever requested the run approved none of its steps.'
    : sentence(`whoever requested the run gave ${count(own, 'approval')} of ${given.length}`)
}

function destinations({ attempts }: Evidence): string {
  const fresh = attempts.filter(({ decision }) => decision?.newDestination)
  const through = fresh.filter(({ status }) => status === 'ok').length
  return fresh.length === 0
    ? 'No call was told to the policies as going to a new destination.'
    : sentence(`${count(fresh.length, 'call')} to a new destination, of which ${through} went through`)
}

function redactedData({ events }: Evidence): string {
  const kinds = unique(events.flatMap(({ entry }) => ('redacted' in entry ? Object.keys(entry.redacted ?? {}) : [])))
  return kinds.length === 0 ? 'Nothing was redacted.' : `Redacted before it was written: ${kinds.join(', ')}.`
}

function definition(evidence: Evidence): string {
  const { kind, name, version, hash } = evidence.created.definition
  const apps = unique(entriesOf(evidence, 'run.activated').map(({ app }) => app.slice(0, 16)))
  return `It ran ${kind} ${name}@${version}${hash === '' ? ', given with the request' : ` (${hash.slice(0, 16)}…)`}, in the code ${apps.map((app) => `${app}…`).join(', ') || 'of no worker yet'}.`
}

function policySets({ attempts }: Evidence): string {
  const sets = unique(attempts.flatMap(({ decision }) => (decision ? [`${decision.set.slice(0, 16)}…`] : [])))
  return sets.length === 0 ? 'No policy set decided.' : `Decided by the policy set ${sets.join(', then ')}.`
}

function changedTools({ attempts }: Evidence): string {
  const changed = unique(attempts.flatMap(({ decision, target }) => (decision?.unapproved ? [target] : [])))
  return changed.length === 0
    ? 'No tool was told to the policies as another than was approved.'
    : `Told to the policies as another than was approved: ${changed.join(', ')}.`
}
