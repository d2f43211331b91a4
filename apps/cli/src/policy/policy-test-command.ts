import { tryCase } from '@muster/governance'
import { type Config, policyCases } from '@muster/protocol'
import pc from 'picocolors'
import { plain, print } from '../output.ts'
import { readValid } from '../read-valid.ts'
import { loadSet } from './policy-source.ts'

/** `muster policy test`: exits 0 when every case is decided as it says, 1 when one is not. */
export async function testPoliciesCommand(
  config: Config,
  file: string,
  files: readonly string[],
  json: boolean,
): Promise<number> {
  const cases = readValid(file, policyCases)
  const set = await loadSet(config, files)
  const tried = cases.map((one, i) => tryCase(one, set, `/${i}`))
  const failed = tried.filter(({ differences }) => differences.length > 0).length
  if (json) print({ set: set.hash, passed: tried.length - failed, failed, cases: tried })
  else {
    for (const { name, differences } of tried) {
      console.log(`${differences.length === 0 ? pc.green('✓') : pc.red('✗')} ${plain(name)}`)
      for (const difference of differences) console.log(`    ${plain(difference)}`)
    }
    console.log(`${tried.length - failed} of ${tried.length} cases as they say`)
  }
  return failed === 0 ? 0 : 1
}
