import { type Issue, KEY_HANDS_MAX, type KeptKey, MusterError } from '@muster/protocol'
import type { ApiKey } from './keys.ts'

type Rights = Pick<KeptKey, 'service' | 'roles' | 'gateway' | 'expiresAt'>

/**
 * Nobody makes a key that may do more than their own.
 *
 * @throws MusterError `auth.forbidden` with the path of each right that is not theirs to give
 */
export function checkGrant(maker: ApiKey, { service, roles, gateway, expiresAt }: Rights): void {
  const issues: Issue[] = []
  const refuse = (path: string, message: string) => issues.push({ path, message })
  for (const [place, role] of roles.entries())
    if (!maker.roles.includes(role) && !maker.roles.includes('*'))
      refuse(`/roles/${place}`, `"${role}" is none of your roles`)
  // Approvals are no service's to give, by way of a key that is none.
  if (maker.service && !service) refuse('/service', 'a service makes keys of services alone')
  const { routes: own, labels = [] } = maker.gateway ?? {}
  if (own) {
    const limits = `your key may use ${own.join(', ') || 'none'} alone`
    if (gateway?.routes === undefined) refuse('/gateway/routes', `must be given: ${limits}`)
    for (const [place, route] of (gateway?.routes ?? []).entries())
      if (!own.some((one) => covers(one, route))) refuse(`/gateway/routes/${place}`, `"${route}": ${limits}`)
  }
  const missing = labels.filter((label) => !gateway?.labels?.includes(label))
  if (missing.length > 0) refuse('/gateway/labels', `must have ${missing.join(', ')}, as your key has`)
  const end = maker.expires
  if (end !== undefined && (expiresAt === undefined || expiresAt > Date.parse(end)))
    refuse('/expiresAt', `must be ${end} at the latest, as your key expires then`)
  if (issues.length === 0) return
  const detail = issues.map(({ path, message }) => `${path} ${message}`).join('; ')
  throw new MusterError('auth.forbidden', `More than your key may give: ${detail}`, { issues })
}

/**
 * Who could have a secret that this key makes: who holds the key, and who could have that.
 *
 * @throws MusterError `auth.forbidden` where they are too many
 */
export function handsOf({ user, hands }: ApiKey): string[] {
  const [first = user, ...rest] = hands ?? []
  const all = hands ? [first, ...new Set([...rest, user])] : [first]
  if (all.length <= KEY_HANDS_MAX) return all
  throw new MusterError('auth.forbidden', `Your key has come through ${all.length - 1} hands, and may make none`)
}

/** Whether all routes that `other` stands for are among those of `one`; `*` at the end stands for any rest. */
function covers(one: string, other: string): boolean {
  if (!one.endsWith('*')) return one === other
  return other.replace(/\*$/, '').startsWith(one.slice(0, -1))
}
