import type { Budget, KeyChanges, KeyRequest, ShownKey } from '@muster/protocol'
import { localTime } from './field.ts'

/** Roles that Muster itself asks for, and what they may; any other is one for approvals. */
export const knownRoles: readonly [role: string, may: string][] = [
  ['admin', 'makes, changes, rotates and revokes keys'],
  ['operator', 'stops, limits, sees costs'],
  ['auditor', 'sees keys, costs, erasures, holds, retention'],
  ['eraser', 'erases and holds'],
  ['*', 'is all of these, and every other'],
]
const known = new Set(knownRoles.map(([role]) => role))

/** Those that have no box of their own. */
export function otherRoles(roles: readonly string[]): string[] {
  return roles.filter((role) => !known.has(role))
}

/** A key as the form asks for it. Only the server judges it. */
export function keyFrom(form: FormData): Partial<KeyRequest> {
  const [id, user, team, note] = ['id', 'user', 'team', 'note'].map((name) => textOf(form, name))
  const gateway = { ...listIf('routes', textOf(form, 'routes')), ...listIf('labels', textOf(form, 'labels')) }
  const [expiresAt, budget] = [timeOf(form), budgetOf(form)]
  return {
    ...{ user: user ?? '', roles: rolesOf(form), ...(form.get('service') === null ? {} : { service: true as const }) },
    ...{ ...(id && { id }), ...(team && { team }), ...(note && { note }) },
    ...{ ...(Object.keys(gateway).length > 0 && { gateway }), ...(budget && { budget }) },
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
}

/** What the form says otherwise than the key is: of what nobody has touched nothing is sent. */
export function changesFrom(form: FormData, key: ShownKey): KeyChanges {
  const roles = rolesOf(form)
  const [team, note] = [textOf(form, 'team'), textOf(form, 'note')]
  return {
    ...(sameNames(roles, shownNames(key.roles)) ? {} : { roles }),
    ...(team === (key.team ?? '').trim() ? {} : { team: team || null }),
    ...(note === (key.note ?? '').trim() ? {} : { note: note || null }),
    ...gatewayChange(form, key),
    ...expiryChange(form, key),
  }
}

/** Routes and labels stand together: of what was not touched what it has stays. */
function gatewayChange(form: FormData, { gateway }: ShownKey): Pick<KeyChanges, 'gateway'> {
  const [routes, labels] = [textOf(form, 'routes'), textOf(form, 'labels')]
  const sameRoutes = sameNames(namesOf(routes), shownNames(gateway?.routes))
  const sameLabels = sameNames(namesOf(labels), shownNames(gateway?.labels))
  if (sameRoutes && sameLabels) return {}
  const after = {
    ...(sameRoutes ? gateway?.routes && { routes: gateway.routes } : listIf('routes', routes)),
    ...(sameLabels ? gateway?.labels && { labels: gateway.labels } : listIf('labels', labels)),
  }
  return { gateway: Object.keys(after).length === 0 ? null : after }
}

export function expiryChange(form: FormData, { expiresAt }: ShownKey): { expiresAt?: number | null } {
  const text = textOf(form, 'expiresAt')
  if (text === localTime(expiresAt) || text === localTime(expiresAt).slice(0, 16)) return {}
  return { expiresAt: timeOf(form) ?? null }
}

/** The field for what a path of the request is about. */
export function keyField(path: string): string {
  const [first = '', second, third] = path.split('/').slice(1)
  if (first === 'gateway') return second ?? 'routes'
  if (first === 'budget') return `${second ?? 'day'}.${third ?? 'usd'}`
  return first
}

function textOf(form: FormData, name: string): string {
  return String(form.get(name) ?? '').trim()
}

function namesOf(text: string): string[] {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean)
}

/** Names as their field has them: one with a comma is two there, and has not been changed for that. */
function shownNames(names: readonly string[] | undefined): string[] {
  return [...new Set(namesOf((names ?? []).join(',')))]
}

function rolesOf(form: FormData): string[] {
  return [...new Set([...form.getAll('role').map(String), ...namesOf(textOf(form, 'roles'))])]
}

function listIf<Name extends string>(name: Name, text: string): { [name in Name]?: string[] } {
  const names = namesOf(text)
  return names.length === 0 ? {} : ({ [name]: names } as { [name in Name]: string[] }) // of a name that is computed
}

function sameNames(some: readonly string[], others: readonly string[]): boolean {
  return [...some].sort().join('\n') === [...others].sort().join('\n')
}

function timeOf(form: FormData): number | undefined {
  const text = textOf(form, 'expiresAt')
  return text === '' ? undefined : new Date(text).getTime()
}

function budgetOf(form: FormData): Budget | undefined {
  const budget: Budget = {}
  for (const period of ['day', 'month'] as const)
    for (const amount of ['usd', 'tokens'] as const) {
      const text = textOf(form, `${period}.${amount}`)
      if (text !== '') budget[period] = { ...budget[period], [amount]: Number(text) }
    }
  return Object.keys(budget).length === 0 ? undefined : budget
}
