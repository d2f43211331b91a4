import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { type KeyRequest, keyId, MusterError } from '@muster/protocol'
import { newApiKey, readKeys } from '@muster/server'
import pc from 'picocolors'
import { plain, print } from '../output.ts'
import { readEnd } from '../read-time.ts'

export interface NewKeyFlags {
  file: string
  tenant: string
  user: string
  role: string[]
  expires?: string
  json: boolean
}

/** `muster key new`: adds a key to a keys file, with no server; the first one of a tenant comes so. */
export function newKeyCommand(id: string, { file, tenant, user, role, expires, json }: NewKeyFlags): number {
  if (!keyId.safeParse(id).success)
    throw new MusterError('request.invalid', `"${id}" is no id of a key: letters, digits, "_", ".", "@" and "-"`)
  const before = existsSync(file) ? readKeys(file) : []
  if (before.some((one) => one.tenant === tenant && one.id === id))
    throw new MusterError('key.exists', `${file} has a key "${id}" of ${tenant} already`)
  const ends = expires === undefined ? {} : { expires: new Date(readEnd(expires, Date.now())).toISOString() }
  const roles: KeyRequest['roles'] = role.length === 0 ? ['*'] : role
  const { key, stored } = newApiKey({ id, tenant, user, roles, ...ends })
  // Whole or not at all: servers start from it.
  const draft = `${file}.muster-${process.pid}`
  writeFileSync(draft, `${JSON.stringify([...before, stored], null, 2)}\n`)
  renameSync(draft, file)
  if (json) print({ file, id, tenant, user, roles, ...ends, key })
  else
    console.log(
      `${file} has ${plain(id)} of ${plain(tenant)}, roles ${roles.map(plain).join(', ')}: servers have it once they start\n${pc.bold(key)}\n${pc.dim('shown only now')}`,
    )
  return 0
}
