import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Actor, issuesText, label, MusterError, zodIssues } from '@muster/protocol'
import { z } from 'zod'
import { hashOf, PREFIX } from './key-secret.ts'

/** An API key as the server knows it: only its hash, never the key. */
const apiKey = z.object({
  id: z.string().min(1).max(64),
  tenant: z.string().min(1).max(64),
  /** The person or service that it belongs to. */
  user: z.string().min(1).max(128),
  /** It belongs to a service, an agent outside perhaps: what it begins says so, and approvals are not its to give. */
  service: z.boolean().optional(),
  /** Roles for approvals; `*` is every role. */
  roles: z.array(z.string()),
  /** Of those who share a budget. */
  team: z.string().min(1).max(128).optional(),
  /** What it may use of the gateway: routes, `*` at the end for any rest; all without it. And labels of all that it asks. */
  gateway: z
    .object({ routes: z.array(z.string().min(1).max(200)).optional(), labels: z.array(label).max(50).optional() })
    .optional(),
  /** From then on it is refused. */
  expires: z.iso.datetime({ offset: true }).optional(),
  /** SHA-256 of the key, hexadecimal. A key has 256 random bits, so a plain hash is enough. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
})
export type ApiKey = z.infer<typeof apiKey> & {
  /** Of one that a tenant keeps: whose hands its secret has come through, the holder of a key of the file first. */
  hands?: readonly string[] | undefined
}

/** Who asks, as the journal has it. */
export function actorOf({ id, user, service, team, hands }: ApiKey): Actor {
  return {
    ...{ key: id, user },
    ...(service ? { service } : {}),
    ...(team === undefined ? {} : { team }),
    ...(hands ? { hands: [...hands] } : {}),
  }
}

export function hasRole({ roles }: ApiKey, role: string): boolean {
  return roles.includes(role) || roles.includes('*')
}

/** Why a key is refused that has none of the roles. */
export function missingRole(roles: readonly string[]): MusterError {
  return new MusterError('auth.forbidden', `This needs the role ${rolesText(roles)}`)
}

export function rolesText(roles: readonly string[]): string {
  return `"${roles.join('" or "')}"`
}

/** A new key, and what the server keeps of it. */
export function newApiKey(about: Omit<ApiKey, 'sha256'>): { key: string; stored: ApiKey } {
  const key = PREFIX + randomBytes(32).toString('base64url')
  return { key, stored: { ...about, sha256: hashOf(key) } }
}

/** @throws MusterError `config.invalid` naming what is wrong with the file */
export function readKeys(file: string): ApiKey[] {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file, 'utf8'))
  } catch (cause) {
    throw new MusterError('config.invalid', `MUSTER_KEYS_FILE: ${file} cannot be read as JSON`, { cause })
  }
  const parsed = z.array(apiKey).safeParse(value)
  if (parsed.success) return parsed.data
  throw new MusterError('config.invalid', `MUSTER_KEYS_FILE: ${file}: ${issuesText(zodIssues(parsed.error))}`)
}
