import { loadPolicies, type PolicySet } from '@muster/governance'
import { type AppManifest, type Config, MusterError, type PolicySource } from '@muster/protocol'
import { loadApp, readPolicies } from '@muster/worker'

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
