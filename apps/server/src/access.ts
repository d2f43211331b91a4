import { MusterError } from '@muster/protocol'
import type { RunReader } from '@muster/runtime'
import type { FastifyRequest, RouteOptions } from 'fastify'
import { type ApiKey, hasRole, missingRole, rolesText } from './keys.ts'
import { isRoleless, mayKnow } from './roleless.ts'

/** Roles that Muster itself asks for; any other is one for approvals. */
type Role = 'admin' | 'auditor' | 'eraser' | 'operator'

/**
 * Who may use a route:
 * - roles: a key that has one of them;
 * - `any-role`: a key that has a role, whichever it is;
 * - `open`: any key, as it tells nothing of other users' runs;
 * - `own`: any key; for one without a role its handler keeps to what is of the key's own user;
 * - `own-run`: any key; one without a role on a run (`:id`) that its own user began. Any other does not exist for it;
 * - `token`: who has a token that its handler looks at, in place of a key.
 */
export type Access = readonly [Role, ...Role[]] | 'any-role' | 'open' | 'own' | 'own-run' | 'token'

/**
 * To be called with each route before it is there: none is open because somebody forgot to say for whom it is.
 *
 * @throws MusterError `internal` where it does not say so
 */
export function needAccess({ method, url, config }: RouteOptions): void {
  if (!url.startsWith('/v1/') || config?.access !== undefined) return
  throw new MusterError(
    'internal',
    `${method} ${url} does not say who may use it: give it a config, such as { access: ['operator'] } or { access: 'any-role' }`,
  )
}

/** Decides whether a key goes on to a route. `done` is called at once, but where it must be looked up who began a run. */
export function accessGate(reader: RunReader) {
  return (
    request: FastifyRequest,
    access: Exclude<Access, 'token'> | undefined,
    key: ApiKey,
    done: (error?: Error) => void,
  ): void => {
    if (access !== 'own-run' || !isRoleless(key)) {
      // What says nothing is for nobody.
      done(request.is404 ? undefined : refused(access ?? [], key))
      return
    }
    const { id = '' } = request.params as { id?: string } // of a path, not checked yet
    // The same words for a run of somebody else, one that was removed and one that never was.
    const answer = (isOwn: boolean) =>
      done(isOwn ? undefined : new MusterError('run.not_found', `There is no run ${id.slice(0, 64)}`))
    mayKnow(reader, key, id).then(answer, done)
  }
}

function refused(access: Exclude<Access, 'token'> | readonly [], key: ApiKey): MusterError | undefined {
  if (access === 'open' || access === 'own' || access === 'own-run') return undefined
  if (isRoleless(key)) return refusal(access)
  if (access === 'any-role' || access.some((role) => hasRole(key, role))) return undefined
  return missingRole(access)
}

/** What a key without a role is told, with the roles that let in. */
export function refusal(access: readonly Role[] | 'any-role'): MusterError {
  const role = access === 'any-role' ? 'any role' : `the role ${rolesText(access)}`
  return new MusterError(
    'auth.forbidden',
    `A key without a role is for the runs of its own user alone: ${role} lets in here, and who has "admin" can give it`,
  )
}

/** What the API's description says of a route. */
export function accessText(access: Access): string | undefined {
  return typeof access === 'string' ? TEXTS[access] : `The role ${rolesText(access)} lets in.`
}

const TEXTS = {
  'any-role': 'Any role lets in.',
  open: 'Any key is let in.',
  own: 'Any key is let in.',
  'own-run': 'Any key is let in; to one without a role there are the runs of its own user alone.',
  token: undefined,
}
