import type { Actor, Decision, EntryOf, EntryType, Json, RunEvent } from '@muster/protocol'
import { VERSION } from '../../version.ts'

/** Version of the schema that events are written in. */
const OCSF_VERSION = '1.8.0'
const CATEGORY = 6
const API_ACTIVITY = 6003

const ACTIVITIES = { Create: 1, Read: 2, Update: 3, Other: 99 } as const
const SEVERITIES = { Informational: 1, Low: 2, Medium: 3, High: 4 } as const
const STATUSES = { Unknown: 0, Success: 1, Failure: 2 } as const

/** What is known of a run when its entries are told one by one. */
export interface RunContext {
  run: string
  created: EntryOf<'run.created'>
  /** The worker that holds it, by the last activation before the entry. */
  worker: string | undefined
}

type Person = Omit<Actor, 'key'> & { key?: string }

/** The person or service on whose behalf an entry was written: who answered or intervened, else who asked for the run. */
export function actorOf({ entry }: RunEvent, { created }: RunContext): Person {
  if (!('by' in entry) || entry.by === undefined) return created.by
  // Of a stop only the name is kept.
  return typeof entry.by === 'string' ? { user: entry.by } : entry.by
}

/**
 * A journal entry as an event of OCSF's class API Activity with the profile Security Control. All entries have this class:
 * Authorize Session and User Access Management are of rights that a person holds from then on, which nothing here gives.
 */
export function ocsfEvent(event: RunEvent, context: RunContext, withContent: boolean): Json {
  const { entry, seq, hash } = event
  const { run, created } = context
  const activity = activityOf(event)
  const severity = severityOf(event)
  const status = statusOf(event)
  const { definition } = created
  const decision = decisionOf(event)
  const error = 'error' in entry ? entry.error : undefined
  const actor = actorOf(event, context)
  return withoutUndefined({
    ...{ category_uid: CATEGORY, category_name: 'Application Activity' },
    ...{ class_uid: API_ACTIVITY, class_name: 'API Activity' },
    ...{ activity_id: ACTIVITIES[activity], activity_name: activity === 'Other' ? entry.type : activity },
    type_uid: API_ACTIVITY * 100 + ACTIVITIES[activity],
    ...{ severity_id: SEVERITIES[severity], severity, status_id: STATUSES[status], status },
    status_code: error?.code,
    status_detail: error?.message,
    time: entry.at,
    message: `${entry.type} of run ${run}`,
    metadata: {
      ...{ version: OCSF_VERSION, profiles: ['security_control'] },
      product: { name: 'Muster', vendor_name: 'Muster', version: VERSION },
      ...{ uid: `${run}/${seq}`, correlation_uid: run, sequence: seq, tenant_uid: created.tenant },
      ...{ event_code: entry.type, log_name: 'journal', log_version: String(entry.v), original_time: String(entry.at) },
      labels: 'labels' in entry ? entry.labels : undefined,
    },
    actor: {
      user: {
        ...{ name: actor.user, uid: actor.user },
        ...(actor.service ? { type_id: 4, type: 'Service' } : { type_id: 1, type: 'User' }),
      },
      app_name: `${definition.name}@${definition.version}`,
      app_uid: definition.hash,
    },
    api: {
      operation: entry.type,
      service: { name: 'muster', version: VERSION },
      response: error ? { error: error.code, error_message: error.message } : undefined,
    },
    // Muster does not keep clients' addresses: what wrote the entry is named in their place.
    src_endpoint:
      context.worker === undefined
        ? { svc_name: 'muster-server' }
        : { svc_name: 'muster-worker', name: context.worker },
    resources: resourcesOf(event, context),
    ...controlOf(event, decision),
    authorizations: decision && authorizationsOf(decision),
    unmapped: unmappedOf(event, decision, hash, actor, withContent),
  })
}

/** What the entry did, as far as OCSF has a word for it. */
function activityOf({ entry }: RunEvent): keyof typeof ACTIVITIES {
  if (entry.type === 'run.created') return 'Create'
  if (entry.type === 'step.intent') return entry.effect === 'read' || entry.effect === 'pure' ? 'Read' : 'Update'
  const updates: EntryType[] = ['run.ended', 'run.paused', 'run.resumed', 'run.cancel_requested', 'approval.given']
  return updates.includes(entry.type) ? 'Update' : 'Other'
}

function statusOf({ entry }: RunEvent): keyof typeof STATUSES {
  if (entry.type === 'run.ended') return entry.status === 'succeeded' ? 'Success' : 'Failure'
  if (entry.type === 'step.ended') return entry.status === 'ok' || entry.status === 'skipped' ? 'Success' : 'Failure'
  if (entry.type === 'callback.received' && entry.error) return 'Failure'
  if (entry.type === 'message.ignored') return 'Failure'
  // What began has no outcome yet.
  return entry.type === 'step.intent' || entry.type === 'step.waiting' ? 'Unknown' : 'Success'
}

function severityOf({ entry }: RunEvent): keyof typeof SEVERITIES {
  if (entry.type === 'step.ended' && entry.status === 'denied') return 'Medium'
  if (entry.type === 'run.stopped') return 'Medium'
  if (entry.type === 'step.waiting' && entry.for === 'doubt') return 'Medium'
  return statusOf({ entry } as RunEvent) === 'Failure' ? 'Low' : 'Informational' // it reads the entry alone
}

function decisionOf({ entry }: RunEvent): Decision | undefined {
  return 'decision' in entry ? entry.decision : undefined
}

/** What a control did: the policies, or a person in their place. */
function controlOf({ entry }: RunEvent, decision: Decision | undefined): Record<string, Json | undefined> {
  const policy = decision && { uid: decision.set, name: decision.policies.join(', ') || 'none', is_applied: true }
  const allowed = { action_id: 1, action: 'Allowed' }
  const denied = { action_id: 2, action: 'Denied' }
  if (entry.type === 'approval.given')
    return entry.verdict === 'approve'
      ? { ...allowed, disposition_id: 8, disposition: 'Approved' }
      : { ...denied, disposition_id: 25, disposition: 'Rejected' }
  if (entry.type === 'step.ended' && entry.status === 'denied')
    return { ...denied, disposition_id: 2, disposition: 'Blocked', policy, is_alert: true }
  if (!decision) return {}
  if (decision.effect === 'ask')
    return { action_id: 99, action: 'Ask', disposition_id: 23, disposition: 'Challenge', policy }
  return { ...allowed, disposition_id: 1, disposition: 'Allowed', policy }
}

function authorizationsOf({ policies, effect, set }: Decision): Json {
  return policies.length === 0
    ? [{ decision: effect, policy: { uid: set } }]
    : policies.map((name) => ({ decision: effect, policy: { name, uid: `${set}/${name}` } }))
}

function resourcesOf({ entry }: RunEvent, { run, created }: RunContext): Json {
  const { kind, name, version } = created.definition
  const own = { uid: run, name: `${name}@${version}`, type: kind }
  if (!('target' in entry)) return 'step' in entry ? [own, { uid: `${run}/${entry.step}`, type: 'step' }] : [own]
  return [{ uid: entry.target, name: entry.target, type: entry.kind, labels: entry.labels }, own]
}

/** What OCSF has no place for. Content is left out unless it is asked for: a SIEM has other readers. */
function unmappedOf(
  { entry, content }: RunEvent,
  decision: Decision | undefined,
  hash: string,
  actor: Person,
  withContent: boolean,
): Record<string, Json | undefined> {
  return {
    hash,
    key: actor.key,
    content_digest: entry.content,
    content: withContent ? content : undefined,
    step: 'step' in entry ? entry.step : undefined,
    attempt: 'attempt' in entry ? entry.attempt : undefined,
    cost_usd: 'costUsd' in entry ? entry.costUsd : undefined,
    model: 'model' in entry ? entry.model : undefined,
    role: 'role' in entry ? entry.role : undefined,
    redacted: 'redacted' in entry ? entry.redacted : undefined,
    history: decision?.history,
    log_only: decision?.trial,
  }
}

/** JSON has none, and a schema does not take null for them. */
function withoutUndefined(value: unknown): Json {
  return JSON.parse(JSON.stringify(value))
}
