import { existsSync } from 'node:fs'
import { loadPolicies, type Policy, type PolicySet, readPolicyTexts } from '@muster/governance'
import { type AppManifest, type Config, MusterError, type PolicySource } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { loadApp, readPolicies } from '@muster/worker/settings'

/** Files and folders that a command was given, else those of the worker. @throws MusterError `config.invalid` */
function readSources(config: Config, files: readonly string[]): PolicySource[] {
  const sources = files.length > 0 ? readPolicies(files.join(), 'policies') : readPolicies(config.MUSTER_POLICY)
  if (sources.length === 0)
    throw new MusterError('config.invalid', 'MUSTER_POLICY: name policy files or folders, or give them to the command')
  return sources
}

/** The set of these files, checked against the app. @throws MusterError `policy.invalid`, `config.invalid` */
export async function loadSet(config: Config, files: readonly string[]): Promise<PolicySet> {
  return loadPolicies(readSources(config, files), await appOf(config))
}

async function appOf(config: Config): Promise<AppManifest> {
  return (await loadApp(config.MUSTER_APP)).manifest
}

/** Policy sets that workers have published, each read once. */
export class PublishedSets {
  readonly #muster: Muster
  readonly #sets = new Map<string, PolicySet | undefined>()

  constructor(muster: Muster) {
    this.#muster = muster
  }

  /** Reads those that it does not know yet. One that was never published, or cannot be loaded any more, stays unknown. */
  async read(hashes: Iterable<string>): Promise<void> {
    for (const hash of new Set(hashes)) {
      // A step that no policy was asked of has none.
      if (this.#sets.has(hash) || hash === '') continue
      try {
        const { sources, app } = await this.#muster.policies.get(hash)
        this.#sets.set(hash, loadPolicies(sources, app))
      } catch (error) {
        const isUnknown = error instanceof MusterError && /^(policy\.|request\.invalid$)/.test(error.code)
        if (!isUnknown) throw error
        this.#sets.set(hash, undefined)
      }
    }
  }

  get(hash: string): PolicySet | undefined {
    return this.#sets.get(hash)
  }
}

/** Policies by id: of files and folders, or of a published set by its hash or the beginning of that. */
export async function readTexts(muster: () => Muster, what: string): Promise<ReadonlyMap<string, Policy>> {
  if (!/^[0-9a-f]{8,64}$/.test(what) || existsSync(what)) {
    const sources = readPolicies(what, 'policies')
    // Policies without an id are named by their file: two single files are versions of one.
    return readPolicyTexts(sources.length === 1 ? sources.map((source) => ({ ...source, file: 'policy' })) : sources)
  }
  const { policies } = muster()
  const [found, another] = (await policies.list()).filter(({ hash }) => hash.startsWith(what))
  if (!found || another)
    throw new MusterError(
      'policy.not_found',
      `${found ? 'Several published sets begin' : 'No published set begins'} with ${what}`,
    )
  return readPolicyTexts((await policies.get(found.hash)).sources)
}
