import { type Actor, areApart, type Decision, type EntryOf, type Person, type RunEvent } from '@muster/protocol'
import { dateOf } from '../output.ts'

type Given = EntryOf<'approval.given'>

/** What is asked of people about a step. */
interface Question {
  entry: EntryOf<'step.waiting'>
  role: string
  /** Who has approved exactly this, by their names. */
  people: Map<string, Person>
  /** Whom it was escalated to. */
  escalated: string | undefined
}

/** So late an answer may be written down, and clocks of workers may differ, ms. */
const LATE_MS = 5000
/** Who answers where no policy names a role. */
const OPERATOR = 'operator'

/**
 * Whether those who answered for a run's steps may have: somebody was asked, for exactly that, with this role, in time,
 * and where the rule says so not who began the run, and as many as it says.
 */
export class ApprovalConduct {
  #requester: Actor | undefined
  readonly #open = new Map<string, Question>()
  /** Steps of plans that wait for people, of which enough have approved. */
  readonly #approved = new Set<string>()
  /** Who has approved anything of a step, which an edit takes over. */
  readonly #ever = new Map<string, Map<string, Person>>()

  /** What is wrong with it. */
  take({ entry }: Pick<RunEvent, 'entry'>): string[] {
    if (entry.type === 'run.created') this.#requester = entry.by
    if (entry.type === 'step.waiting') return this.#ask(entry)
    if (entry.type === 'approval.escalated') return this.#escalate(entry)
    if (entry.type === 'approval.given') return this.#answer(entry)
    return entry.type === 'step.ended' ? this.#end(entry) : []
  }

  #ask(entry: EntryOf<'step.waiting'>): string[] {
    const { step, at, role = OPERATOR, rule, decision, given = [], until } = entry
    this.#open.delete(step)
    if (entry.for !== 'approval' && entry.for !== 'doubt') return []
    const ever = this.#ever.get(step)
    const people = new Map(given.map((user) => [user, ever?.get(user) ?? { user }]))
    this.#open.set(step, { entry, role, people, escalated: undefined })
    const found: string[] = []
    if (entry.for === 'approval' && decision && (role !== (decision.role ?? OPERATOR) || !isSameRule(entry, decision)))
      found.push(`step ${step} asks ${role} by another rule than its decision has`)
    const expired = rule?.expiresMs === undefined ? undefined : at + rule.expiresMs
    if (expired !== undefined && (until === undefined || until > expired + LATE_MS))
      found.push(`step ${step} waits longer for an approval than its rule lets`)
    const stranger = given.find((one) => !ever?.has(one))
    if (stranger !== undefined) found.push(`step ${step} counts an approval that ${stranger} has not given`)
    return found
  }

  #escalate({ step, at, role }: EntryOf<'approval.escalated'>): string[] {
    const question = this.#open.get(step)
    const { afterMs = 0, role: other } = question?.entry.rule?.escalate ?? {}
    if (!question || other !== role || at < question.entry.at + afterMs - LATE_MS)
      return [`step ${step} was escalated to ${role}, which its rule does not say, or not then`]
    question.escalated = role
    return []
  }

  #answer(given: Given): string[] {
    const { step, verdict, by } = given
    const question = this.#open.get(step)
    if (!question) return [`${by.user} answered for step ${step}, and nobody was asked`]
    const found = whatIsWrong(given, question)
    const { entry, people } = question
    if (verdict === 'approve') {
      if (entry.rule?.requester === false && this.#requester && !areApart(by, this.#requester))
        found.push(`${by.user} approved step ${step}, and ${began(by, this.#requester)}: somebody else must`)
      const same = [...people.values()].find((one) => !areApart(by, one))
      if (same)
        found.push(`${by.user} approved step ${step} a second time${same.user === by.user ? '' : `, as ${same.user}`}`)
      people.set(by.user, by)
      this.#ever.set(step, new Map(this.#ever.get(step)).set(by.user, by))
    }
    const isEnough = people.size >= (entry.rule?.people ?? 1)
    if (verdict === 'deny' || given.edited || entry.for === 'doubt' || isEnough) this.#open.delete(step)
    if (verdict === 'approve' && isEnough && entry.kind === 'approval') this.#approved.add(step)
    return found
  }

  /** Of other steps the policies say whether enough people have approved. */
  #end({ step, kind, status, copied }: EntryOf<'step.ended'>): string[] {
    this.#open.delete(step)
    if (kind !== 'approval' || status !== 'ok' || copied !== undefined || this.#approved.has(step)) return []
    return [`step ${step} went on, and not as many people as it asks have approved`]
  }
}

function began(by: Actor, requester: Actor): string {
  return by.user === requester.user ? 'began the run' : `could be ${requester.user}, who began the run, by their keys`
}

function whatIsWrong({ step, at, verdict, shown, by, role, as, content }: Given, question: Question): string[] {
  const { entry, escalated } = question
  const found: string[] = []
  if (shown !== entry.content) found.push(`${by.user} answered for step ${step}, and was shown something else`)
  if (role !== question.role || (as !== undefined && as !== escalated))
    found.push(`${by.user} answered for step ${step} as ${as ?? role}, and ${question.role} was asked`)
  if (by.service) found.push(`${by.user}, which is a service, answered for step ${step}`)
  if (entry.rule?.reason && content === undefined) found.push(`${by.user} answered for step ${step} without a reason`)
  if (verdict === 'approve' && entry.until !== undefined && at > entry.until + LATE_MS)
    found.push(`${by.user} approved step ${step} after ${dateOf(entry.until)}, until when it waited`)
  return found
}

function isSameRule({ rule }: EntryOf<'step.waiting'>, decision: Pick<Decision, 'rule'>): boolean {
  return ruleText(rule) === ruleText(decision.rule)
}

/** What an approval takes, whatever the order in which it is written. */
export function ruleText(rule: Decision['rule']): string {
  const { people, requester, reason, expiresMs, escalate } = rule ?? {}
  return JSON.stringify([people ?? 1, requester ?? true, reason ?? false, expiresMs, escalate?.afterMs, escalate?.role])
}
