import type { ActionOptions, Muster, RunAction } from '@muster/sdk'
import pc from 'picocolors'
import { plain, print } from '../output.ts'

/** `muster all`: acts on all runs of a filter and says of each what became of it. Gives the exit code: 1 when any failed. */
export async function actCommand(
  muster: Muster,
  action: RunAction,
  options: ActionOptions,
  json: boolean,
): Promise<number> {
  let touched = 0
  let failed = 0
  for await (const acted of muster.runs.act(action, options)) {
    const { run, begun, error } = acted
    if (error) failed++
    else touched++
    if (json) {
      print(acted)
      continue
    }
    const what = `${run.id} ${plain(`${run.name}@${run.version}`)}`
    if (error) console.log(`${pc.red('✗')} ${what} ${plain(`${error.code}: ${error.detail}`)}`)
    else
      console.log(`${options.dryRun ? pc.dim('would') : pc.green('✓')} ${action} ${what}${begun ? ` → ${begun}` : ''}`)
  }
  if (!json)
    console.log(`${options.dryRun ? 'would touch' : 'told'} ${touched} runs${failed > 0 ? `, ${failed} failed` : ''}`)
  return failed > 0 ? 1 : 0
}
