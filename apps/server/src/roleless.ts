import { keyTaken } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { callerNames, MusterError } from '@muster/protocol'
import { type RunReader, SESSION_TURNS } from '@muster/runtime'
import { type ApiKey, actorOf } from './keys.ts'

/** Whether it may do no more than what is its own user's. */
export function isRoleless({ roles }: Pick<ApiKey, 'roles'>): boolean {
  return roles.length === 0
}

/** Whose runs a key is told of, for a list; nothing where of all in its tenant. */
export function onlyUser(key: ApiKey): { user?: string } {
  return isRoleless(key) ? { user: key.user } : {}
}

/** Whether `name`, of a budget or a limit, is of a key, its user or team, of each that has none of its own, or of the tenant. */
export function bearsOn(key: ApiKey, name: string): boolean {
  return name === 'tenant' || /^(key|user|team):\*$/.test(name) || callerNames(actorOf(key)).includes(name)
}

/** Whether a run may be known to a key: it has a role, or its user began the run. */
export async function mayKnow(reader: RunReader, key: ApiKey, run: string): Promise<boolean> {
  if (!isRoleless(key)) return true
  try {
    return (await reader.beganBy(key.tenant, run)).user === key.user
  } catch (error) {
    if (error instanceof MusterError && error.code === 'run.not_found') return false
    throw error
  }
}

/**
 * That a run which was there before, under the idempotency key that was sent, may be given to who sent it. Who is refused
 * is not told whether the other's request was the same.
 *
 * @throws MusterError `idempotency.conflict`
 */
export async function checkBegun(reader: RunReader, key: ApiKey, run: string): Promise<void> {
  if (!(await mayKnow(reader, key, run))) throw keyTaken()
}

/**
 * That a run of this key may go on with a session: an agent is told what was said in it, and the run's journal has it. A
 * key without a role goes on with what nobody has said anything in, or its own user has.
 *
 * @throws MusterError `auth.forbidden`
 */
export async function checkSession(
  { memory, reader }: { memory: Memory; reader: RunReader },
  key: ApiKey,
  session: string | undefined,
): Promise<void> {
  if (session === undefined || !isRoleless(key)) return
  const { turns } = await memory.sessions.read(key.tenant, session, { last: SESSION_TURNS })
  const said = turns.filter(({ messages }) => messages.length > 0).reverse()
  for (const { run } of said) if (await mayKnow(reader, key, run)) return
  if (said.length > 0)
    throw new MusterError(
      'auth.forbidden',
      `Session "${session}" is other users', and a key without a role goes on with its own user's alone`,
    )
}
