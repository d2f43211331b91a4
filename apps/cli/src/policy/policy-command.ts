import { type Config, MusterError } from '@muster/protocol'
import pc from 'picocolors'
import { plain, print } from '../output.ts'
import { loadSet } from './policy-source.ts'

/** `muster policy check`: exits 0 when the policies fit the app, else 1 with the place of each mistake. */
export async function checkPoliciesCommand(config: Config, files: readonly string[], json: boolean): Promise<number> {
  try {
    const { hash, policies, sources } = (await loadSet(config, files)).published
    if (json) {
      print({ hash, policies, files: sources.map(({ file, mode = 'enforced' }) => ({ file, mode })) })
      return 0
    }
    const count = (mode: string) => policies.filter((policy) => policy.mode === mode).length
    const logOnly = count('log-only')
    const modes = logOnly === 0 ? 'enforced' : `${count('enforced')} enforced, ${logOnly} log-only`
    console.log(`${pc.green('ok')} ${hash}: ${policies.length} policies, ${modes}`)
    return 0
  } catch (error) {
    if (json || !(error instanceof MusterError) || error.code !== 'policy.invalid') throw error
    for (const { path, message } of error.issues ?? []) console.error(`${pc.red(plain(path))} ${plain(message)}`)
    return 1
  }
}
