import { keyTaken } from '@muster/journal'
import { callerNames, MusterError } from '@muster/protocol'
import { type RunReader, SESSION_TURNS } from '@muster/runtime'
import type { FastifyContextConfig, FastifyRequest } from 'fastify'
import type { Context } from './context.ts'
import { type ApiKey, actorOf } from './keys.ts'

/**
 * What a key without any role may do at a route:
 * - `open`: what any key may, as it tells nothing of other users' runs;
 * - `own`: its handler keeps to what is of the key's own user;
 * - `own-run`: what any key may, on a run (`:id`) that the key's own user began. Any other does not exist for it.
 */
export type Roleless = 'open' | 'own' | 'own-run'

/** Whether it may do no more than what is its own user's. */
export function isRoleless({ roles }: Pick<ApiKey, 'roles'>): boolean {
  return roles.length === 0
}

/** Whose runs a key is told of, for a list; nothing where of all in its tenant. */
export function onlyUser(key: ApiKey): { user?: string } {
  return isRoleless(key) ? { user: key.user } : {}
}

/** @param lets roles that let in, of which who asks would be given one */
export function refusal(lets?: readonly string[]): MusterError {
  return new MusterError(
    'auth.forbidden',
    `A key without a role is for the runs of its own user alone: ${letsText(lets)} in here, and who has "admin" can give it`,
  )
}

/** What the API's description says of a route; undefined where there is nothing to say of keys without a role. */
export function rolesText({ roleless, lets }: FastifyContextConfig = {}): string | undefined {
  if (roleless === undefined) return `A key without a role is refused: ${letsText(lets)} in.`
  return roleless === 'own-run' ? 'To a key without a role there are the runs of its own user alone.' : undefined
}

function letsText(lets: readonly string[] = ['operator']): string {
  return `the role "${lets.join('" or "')}" lets`
}

/** Whether `name`, of a budget or a limit, is of a key, its user or team, of each that has none of its own, or of the tenant. */
export function bearsOn(key: ApiKey, name: string): boolean {
  return name === 'tenant' || /^(key|user|team):\*$/.test(name) || callerNames(actorOf(key)).includes(name)
}

/** Whether a run may be known to a key: it has a role, or its user began the run. */
async function mayKnow(reader: RunReader, key: ApiKey, run: string): Promise<boolean> {
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
  { memory, reader }: Pick<Context, 'memory' | 'reader'>,
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

/**
 * Decides whether a key without a role goes on to a route: where the route does not say so, it does not. `done` is called
 * at once, but where it must be looked up who began a run.
 */
export function rolelessGate(reader: RunReader) {
  return (
    request: FastifyRequest,
    { roleless: may, lets }: FastifyContextConfig,
    key: ApiKey,
    done: (error?: Error) => void,
  ): void => {
    if (may === 'open' || may === 'own' || request.is404) {
      done()
      return
    }
    const { id } = request.params as { id?: unknown } // not checked yet
    if (may !== 'own-run' || typeof id !== 'string') {
      done(refusal(lets))
      return
    }
    // The same words for a run of somebody else, one that was removed and one that never was.
    const answer = (isOwn: boolean) =>
      done(isOwn ? undefined : new MusterError('run.not_found', `There is no run ${id.slice(0, 64)}`))
    mayKnow(reader, key, id).then(answer, done)
  }
}
