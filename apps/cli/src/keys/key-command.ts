import { budget, limit, type MadeKey, MusterError, type ShownKey } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { limitText } from '../costs/limits-command.ts'
import { dateOf, plain, print, tableOf } from '../output.ts'
import { readJson } from '../read-json.ts'
import { readDuration, readEnd } from '../read-time.ts'
import { valid } from '../read-valid.ts'

/** What a key may do, as flags say it. */
export interface RightsFlags {
  team?: string
  role: string[]
  routes: string[]
  labels: string[]
  expires?: string
  note?: string
}

export interface CreateKeyFlags extends RightsFlags {
  user: string
  service: boolean
  budget?: string
  limit?: string
  json: boolean
}

/** `muster key create`: the secret is shown once. */
export async function createKeyCommand(muster: Muster, id: string | undefined, flags: CreateKeyFlags): Promise<number> {
  const { user, service, team, role: roles, note, json } = flags
  const made = await muster.keys.create({
    ...{ user, roles: textsOf(roles), ...(id === undefined ? {} : { id }), ...(service ? { service } : {}) },
    ...{ ...(team === undefined ? {} : { team }), ...(note === undefined ? {} : { note }), ...gatewayOf(flags) },
    ...(flags.expires === undefined ? {} : { expiresAt: readEnd(flags.expires, Date.now()) }),
    ...(flags.budget === undefined
      ? {}
      : { budget: valid(await readJson(flags.budget, '--budget'), budget, { at: '/budget', what: '--budget' }) }),
    ...(flags.limit === undefined
      ? {}
      : { limit: valid(await readJson(flags.limit, '--limit'), limit, { at: '/limit' }) }),
  })
  if (json) print(made)
  else {
    console.log(`made ${plain(made.id)}, for ${plain(made.user)}`)
    tellSecret(made)
  }
  return 0
}

/** `muster key list`. */
export async function listKeysCommand(muster: Muster, { all, json }: { all: boolean; json: boolean }): Promise<number> {
  const found: ShownKey[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await muster.keys.list({ limit: 200, ...(cursor === undefined ? {} : { cursor }) })
    found.push(...page.keys)
    cursor = page.cursor
    if (cursor === undefined) break
  }
  const keys = all ? found : found.filter(({ state }) => state !== 'revoked')
  if (json) print({ keys })
  else {
    const rows = tableOf(['key', 'for', 'may', 'budget', 'limit', 'expires', 'last used', ''])
    for (const key of keys)
      rows.push([
        ...[plain(key.id), whose(key), may(key), budgetsOf(key), limitOf(key)],
        ...[expiryOf(key), lastUseOf(key), stateOf(key)],
      ])
    console.log(keys.length === 0 ? 'there is no key' : rows.toString())
    const hidden = found.length - keys.length
    if (hidden > 0) console.log(pc.dim(`and ${hidden} that were revoked: --all shows them`))
  }
  return 0
}

/** `muster key show <key>`. */
export async function showKeyCommand(muster: Muster, id: string, json: boolean): Promise<number> {
  const key = await muster.keys.get(id)
  if (json) print(key)
  else tellKey(key)
  return 0
}

/** `muster key change <key>`: what is given takes the place of what it had. */
export async function changeKeyCommand(
  muster: Muster,
  id: string,
  { json, ...flags }: Partial<RightsFlags> & { json: boolean },
): Promise<number> {
  const { role, routes, labels, team, note, expires } = flags
  if (Object.keys(flags).length === 0) throw new MusterError('request.invalid', 'say what to change: see --help')
  // Routes and labels stand together: of what is not given what it has stays.
  const before = routes || labels ? (await muster.keys.get(id)).gateway : undefined
  const key = await muster.keys.change(id, {
    ...(role ? { roles: textsOf(role) } : {}),
    ...(routes || labels ? { gateway: { ...before, ...gatewayOf(flags).gateway } } : {}),
    ...(team === undefined ? {} : { team: team === '' ? null : team }),
    ...(note === undefined ? {} : { note: note === '' ? null : note }),
    ...(expires === undefined ? {} : { expiresAt: expires === 'never' ? null : readEnd(expires, Date.now()) }),
  })
  if (json) print(key)
  else tellKey(key)
  return 0
}

/** `muster key rotate <key>`: the new secret is shown once. */
export async function rotateKeyCommand(
  muster: Muster,
  id: string,
  { grace, expires, json }: { grace?: string; expires?: string; json: boolean },
): Promise<number> {
  const rotated = await muster.keys.rotate(id, {
    ...(grace === undefined ? {} : { graceMs: readDuration(grace) }),
    ...(expires === undefined ? {} : { expiresAt: expires === 'never' ? null : readEnd(expires, Date.now()) }),
  })
  if (json) print(rotated)
  else {
    tellSecret(rotated)
    const { oldUntil } = rotated
    console.log(
      oldUntil === undefined
        ? 'the secret before it is refused from now on'
        : `the secret before it holds until ${dateOf(oldUntil)}; --grace 0 ends it at once`,
    )
  }
  return 0
}

/** `muster key revoke <key>`. */
export async function revokeKeyCommand(muster: Muster, id: string, json: boolean): Promise<number> {
  await muster.keys.revoke(id)
  if (json) print({ id, state: 'revoked' })
  else console.log(`revoked ${plain(id)}: within a second it is refused everywhere`)
  return 0
}

/** `a,b` and several flags come to the same. */
function textsOf(given: readonly string[] = []): string[] {
  return given.flatMap((text) => text.split(',')).flatMap((text) => text.trim() || [])
}

function gatewayOf({ routes, labels }: Partial<RightsFlags>): { gateway?: { routes?: string[]; labels?: string[] } } {
  const gateway = {
    ...(routes && routes.length > 0 ? { routes: textsOf(routes) } : {}),
    ...(labels && labels.length > 0 ? { labels: textsOf(labels) } : {}),
  }
  return Object.keys(gateway).length === 0 ? {} : { gateway }
}

function tellSecret({ key }: MadeKey): void {
  console.log(`${pc.bold(key)}\n${pc.dim('shown only now: hand it over by a way that keeps secrets')}`)
}

function tellKey(key: ShownKey): void {
  const { id, note, createdAt, createdBy, changedAt, rotatedAt, oldUntil, revoked, from, end } = key
  const lines: [name: string, value: string][] = [
    ['for', whose(key)],
    ['may', may(key)],
    ['budget', budgetsOf(key)],
    ['limit', limitOf(key)],
    ['expires', expiryOf(key)],
    ['last used', lastUseOf(key)],
    ['made', createdBy && createdAt !== undefined ? `${dateOf(createdAt)} by ${plain(createdBy.user)}` : ''],
    ['changed', changedAt === undefined ? '' : dateOf(changedAt)],
    ['rotated', rotatedAt === undefined ? '' : dateOf(rotatedAt)],
    ['secret', end === undefined ? '' : `mk_…${plain(end)}`],
    ['old secret', oldUntil === undefined ? '' : `holds until ${dateOf(oldUntil)}`],
    ['note', plain(note ?? '')],
    ['revoked', revoked ? `${dateOf(revoked.at)} by ${plain(revoked.by.user)}` : ''],
    ['from', from === 'file' ? 'the keys file: it is changed there' : ''],
  ]
  console.log(`${pc.bold(plain(id))} ${stateOf(key) || pc.green('active')}`)
  for (const [name, value] of lines)
    if (value !== '') console.log(`${pc.dim(name.padEnd(11))}${value.replaceAll('\n', `\n${' '.repeat(11)}`)}`)
}

function whose({ user, team, service }: ShownKey): string {
  const more = [...(service ? ['a service'] : []), ...(team === undefined ? [] : [`team ${plain(team)}`])]
  return plain(user) + (more.length === 0 ? '' : ` (${more.join(', ')})`)
}

function may({ roles, gateway }: ShownKey): string {
  const { routes, labels } = gateway ?? {}
  return [
    ...(roles.length === 0 ? [] : [`roles ${roles.map(plain).join(', ')}`]),
    routes ? `routes ${routes.map(plain).join(', ') || 'none'}` : 'all routes',
    ...(labels && labels.length > 0 ? [`labels ${labels.map(plain).join(', ')}`] : []),
  ].join('\n')
}

function budgetsOf({ budgets }: ShownKey): string {
  return budgets
    .flatMap(({ period, limits, spent }) =>
      Object.entries(limits).map(([amount, limit]) => {
        const used = spent[amount] ?? 0
        return amount === 'usd'
          ? `$${used.toFixed(4)} of $${limit} a ${period}`
          : `${used} of ${limit} ${amount} a ${period}`
      }),
    )
    .join('\n')
}

function limitOf({ limit }: ShownKey): string {
  return limit ? limitText(limit) : ''
}

function expiryOf({ expiresAt }: ShownKey): string {
  return expiresAt === undefined ? 'never' : dateOf(expiresAt)
}

/** What is known may be ten minutes behind. */
function lastUseOf({ lastUsedAt }: ShownKey): string {
  return lastUsedAt === undefined ? 'never' : `${dateOf(lastUsedAt).slice(0, 16)}Z`
}

function stateOf({ state, from }: ShownKey): string {
  if (state === 'active') return from === 'file' ? pc.dim('in the file') : ''
  return state === 'revoked' ? pc.red(state) : pc.yellow(state)
}
