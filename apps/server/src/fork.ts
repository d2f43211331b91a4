import {
  type Entry,
  type EntryOf,
  isEnded,
  isGateway,
  type Json,
  MusterError,
  type PlanData,
  type StartRun,
  type StepStatus,
} from '@muster/protocol'
import { INLINE } from '@muster/runtime'
import { beginRun } from './begin-run.ts'
import type { Context } from './context.ts'
import { type ApiKey, actorOf } from './keys.ts'

/** From where a run is begun again, and with what. */
export interface Fork {
  /** The step that is done anew; from the run's start unless given. */
  step?: string | undefined
  input?: Json | undefined
  version?: string | undefined
}

/** What of a journal matters to where it may be cut. */
interface Cut {
  created: EntryOf<'run.created'>
  /** Hashes of the entries, from the first. */
  hashes: string[]
  /** By step: where it ended for good, and how. */
  ends: Map<string, { seq: number; status: StepStatus }>
  /** Steps that the journal names. */
  steps: Set<string>
  cancelledAt: number | undefined
  rolledBack: boolean
}

/** Begins runs from others: from any step, or from where one failed. */
export function forks(context: Context) {
  const { reader, admission } = context
  async function read(tenant: string, id: string): Promise<Cut> {
    const { read } = await reader.stored(tenant, id)
    const cut: Omit<Cut, 'created'> & { created?: Cut['created'] } = {
      ...{ hashes: [], ends: new Map(), steps: new Set(), cancelledAt: undefined, rolledBack: false },
    }
    for await (const { seq, hash, bytes } of read(0)) {
      // Written by the journal alone; whoever goes on from it checks its chain.
      const entry = JSON.parse(bytes) as Entry
      cut.hashes.push(hash)
      if (entry.type === 'run.created') cut.created = entry
      else if (entry.type === 'run.cancel_requested') cut.cancelledAt ??= seq
      else if (entry.type === 'step.intent' || entry.type === 'step.waiting') cut.steps.add(entry.step)
      else if (entry.type === 'step.ended' && !entry.retry) {
        cut.steps.add(entry.step)
        cut.ends.set(entry.step, { seq, status: entry.status })
        cut.rolledBack ||= entry.step.startsWith('undo(')
      }
    }
    const { created } = cut
    if (!created) throw new MusterError('run.not_found', `There is no run ${id}`)
    return { ...cut, created }
  }

  /**
   * Begins a new run from an entry of another.
   *
   * @throws MusterError `run.not_forkable`, `definition.not_found`, `input.invalid`, `idempotency.conflict`
   */
  async function begin(
    who: ApiKey,
    id: string,
    cut: Cut,
    { step, input, version, after }: Fork & { after: number },
    idempotencyKey: string | undefined,
  ): Promise<string> {
    const { tenant } = who
    const run = await reader.run(tenant, id)
    const { created } = cut
    if (isGateway(created.definition))
      throw new MusterError('run.not_forkable', `Run ${id} is a request to the gateway: its client sends it again`)
    const { kind, name, version: before } = created.definition
    const inline = before === INLINE
    if (inline && version !== undefined)
      throw new MusterError('run.not_forkable', 'a plan that came with its run has one version', {
        issues: [{ path: '/version', message: 'not for a plan that came with its run' }],
      })
    const request: StartRun = {
      ...(kind === 'agent' ? { agent: name } : { plan: inline ? (run.plan as unknown as PlanData) : name }), // as it was checked then
      ...(inline ? {} : { version: version ?? before }),
      input: input ?? run.input ?? null,
      labels: created.labels,
      limits: created.limits,
      ...(created.session === undefined ? {} : { session: created.session }),
      ...(created.subject === undefined ? {} : { subject: created.subject }),
      ...(created.priority === undefined ? {} : { priority: created.priority }),
    }
    const admitted = await admission.admit(request, tenant, actorOf(who))
    const hash = cut.hashes[after - 1] ?? ''
    const origin = { run: id, seq: after, hash, ...(step === undefined ? {} : { step }) }
    const begun = await beginRun(context, who, { ...admitted, run: { ...admitted.run, origin } }, idempotencyKey)
    return begun.id
  }

  return {
    /** Begins a run anew from one of its steps, or from its start. */
    async fork(who: ApiKey, id: string, fork: Fork, idempotencyKey?: string): Promise<string> {
      const cut = await read(who.tenant, id)
      const { step } = fork
      if (step === undefined) return begin(who, id, cut, { ...fork, after: 1 }, idempotencyKey)
      if (!cut.steps.has(step) || step.startsWith('undo(')) {
        const names = [...cut.steps].slice(0, 20).join(', ') || 'none'
        throw new MusterError('run.not_forkable', `Run ${id} has taken no step "${step}". It has taken: ${names}`, {
          issues: [{ path: '/step', message: 'no such step' }],
        })
      }
      if (cut.rolledBack) throw undone(id)
      const end = cut.ends.get(step)
      return begin(who, id, cut, { ...fork, after: end ? end.seq - 1 : cut.hashes.length }, idempotencyKey)
    },

    /** Begins a run that failed or was cancelled anew from where that happened. */
    async restart(who: ApiKey, id: string, idempotencyKey?: string): Promise<string> {
      const { status } = await reader.run(who.tenant, id)
      if (!isEnded(status)) throw new MusterError('run.not_ended', `Run ${id} is ${status}`)
      if (status === 'succeeded') throw new MusterError('run.not_forkable', `Run ${id} has succeeded: fork it instead`)
      const cut = await read(who.tenant, id)
      // What it did is undone, so all of it is to be done again.
      if (cut.rolledBack) return begin(who, id, cut, { after: 1 }, idempotencyKey)
      if (cut.cancelledAt !== undefined) return begin(who, id, cut, { after: cut.cancelledAt - 1 }, idempotencyKey)
      const failed = [...cut.ends]
        .filter(([, end]) => end.status === 'failed' || end.status === 'denied')
        .sort(([, a], [, b]) => b.seq - a.seq)[0]
      return failed
        ? begin(who, id, cut, { step: failed[0], after: failed[1].seq - 1 }, idempotencyKey)
        : begin(who, id, cut, { after: cut.hashes.length - 1 }, idempotencyKey)
    },
  }
}

function undone(id: string): MusterError {
  return new MusterError('run.not_forkable', `What run ${id} did is undone: it can be begun again from its start only`)
}
