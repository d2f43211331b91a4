import type { Created, NewRun } from '@muster/journal'
import type { Json } from '@muster/protocol'
import type { Context } from './context.ts'
import type { ApiKey } from './keys.ts'
import { checkBegun, checkSession } from './roleless.ts'

/**
 * Begins a run that was admitted, or gives the one that the idempotency key has begun before.
 *
 * @throws MusterError `stop.active`, `subject.erased`, `quota.exceeded`, `idempotency.conflict`, or `auth.forbidden` for a
 * session that is others'
 */
export async function beginRun(
  context: Context,
  who: ApiKey,
  { run, content }: { run: NewRun; content: Json },
  idempotencyKey: string | undefined,
): Promise<Created> {
  const { journal, memory, reader, enter } = context
  await checkSession(context, who, run.session)
  const giveBack = await enter(run)
  const begun = await journal.create(run, content, { idempotencyKey, offload: memory.blobs.put })
  if (!begun.created) {
    await giveBack()
    await checkBegun(reader, who, begun.id)
  }
  return begun
}
