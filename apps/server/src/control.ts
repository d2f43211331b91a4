import { isEnded, MusterError } from '@muster/protocol'
import type { Context } from './context.ts'
import { type ApiKey, actorOf } from './keys.ts'

export type Control = 'cancel' | 'terminate' | 'pause' | 'resume'

/** Tells a run what a person wants of it: durable when it resolves, heeded as soon as a worker has it. */
export function controls({ journal, reader }: Pick<Context, 'journal' | 'reader'>) {
  /** @throws MusterError `run.not_found`, `run.ended`, `run.paused`, `run.not_paused` */
  return async (who: ApiKey, id: string, control: Control): Promise<{ id: string }> => {
    const run = await reader.run(who.tenant, id)
    if (isEnded(run.status)) throw new MusterError('run.ended', `Run ${id} has ended`)
    if (control === 'pause' && run.paused)
      throw new MusterError('run.paused', `Run ${id} is paused already, by ${run.paused.by.user}`)
    if (control === 'resume' && !run.paused) throw new MusterError('run.not_paused', `Run ${id} is not paused`)
    const by = actorOf(who)
    await journal.post(
      id,
      control === 'cancel' || control === 'terminate'
        ? { type: 'cancel', by, ...(control === 'terminate' ? { now: true } : {}) }
        : { type: control, by },
    )
    return { id }
  }
}
