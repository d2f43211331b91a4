import { hash } from 'node:crypto'
import { MusterError, sortedJson } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import type { Folder } from './export-folder.ts'

/** For which app a worker said that it decides by a set, by the record's place; workers of earlier versions said none. */
export interface AppSaid {
  seq: number
  app: unknown
}

/** Copies the sets that decisions name, as the tenant's archive has them, and gives the digest of each one's app. */
export async function copyPolicies(
  muster: Muster,
  folder: Folder,
  sets: ReadonlySet<string>,
): Promise<Map<string, string>> {
  const apps = new Map<string, string>()
  for (const set of sets) {
    try {
      const published = await muster.policies.get(set)
      await folder.write(`policies/${set}.json`, [`${JSON.stringify(published, null, 2)}\n`])
      apps.set(set, hash('sha256', sortedJson(published.app), 'hex'))
    } catch (error) {
      if (!(error instanceof MusterError && error.code === 'policy.not_found')) throw error
    }
  }
  return apps
}

/**
 * The last record that the ledger must have so that the app beside each set is one that a worker is known to have said: where
 * several workers began at once, the one whose app was archived may have said so after another, and the ledger between them.
 * 0 where it has all; undefined where one was said by nobody yet, and another was.
 */
export function recordOfApps(
  apps: ReadonlyMap<string, string>,
  said: ReadonlyMap<string, readonly AppSaid[]>,
  sealed: number,
): number | undefined {
  let last = 0
  for (const [set, app] of apps) {
    const all = said.get(set) ?? []
    const known = all.filter(({ seq }) => seq <= sealed)
    if (known.length === 0 || known.some((one) => one.app === app || one.app === undefined)) continue
    const own = all.find((one) => one.app === app)
    if (!own) return undefined
    last = Math.max(last, own.seq)
  }
  return last
}
