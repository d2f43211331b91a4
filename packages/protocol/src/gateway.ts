import type { EntryOf } from './entry.ts'

type Definition = EntryOf<'run.created'>['definition']

/** What a request of the gateway is a run of: no code of anybody's, so it is pinned to none. */
export const GATEWAY: Definition = { kind: 'plan', name: 'gateway', version: 'inline', hash: '' }

export function isGateway({ kind, name, version }: Definition): boolean {
  return kind === GATEWAY.kind && name === GATEWAY.name && version === GATEWAY.version
}
