import {
  MusterError,
  type PolicySetSummary,
  type PublishedPolicies,
  policySetSummary,
  publishedPolicies,
} from '@muster/protocol'
import type { JournalRedis } from './commands.ts'
import type { Keys } from './keys.ts'

/** Keeps a policy set for as long as the journals that name it; one that is known stays as it is. */
export async function publishPolicies(redis: JournalRedis, keys: Keys, set: PublishedPolicies): Promise<void> {
  if ((await redis.hexists(keys.policies, set.hash)) === 1) return
  const { hash, firstSeen, policies } = set
  const summary: PolicySetSummary = { hash, firstSeen, policies }
  const results = await redis
    .multi()
    .set(keys.policySet(hash), JSON.stringify(set), 'NX')
    .hsetnx(keys.policies, hash, JSON.stringify(summary))
    .exec()
  const error = results?.find(([error]) => error)?.[0]
  if (error) throw error
}

/** Every set that was published, the newest first. */
export async function policySets(redis: JournalRedis, keys: Keys): Promise<PolicySetSummary[]> {
  const all = await redis.hvals(keys.policies)
  return all.map((text) => policySetSummary.parse(JSON.parse(text))).sort((a, b) => b.firstSeen - a.firstSeen)
}

/** @throws MusterError `policy.not_found` */
export async function policySet(redis: JournalRedis, keys: Keys, hash: string): Promise<PublishedPolicies> {
  const text = await redis.get(keys.policySet(hash))
  if (text === null) throw new MusterError('policy.not_found', `No worker has published a policy set ${hash}`)
  return publishedPolicies.parse(JSON.parse(text))
}
