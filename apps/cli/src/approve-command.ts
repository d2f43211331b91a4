import { isForPerson, MusterError } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { plain, print } from './output.ts'

/** `muster approve`: shows what a run waits for; with a verdict, answers it for exactly what was shown. */
export async function approveCommand(
  muster: Muster,
  id: string,
  options: { step?: string; yes?: boolean; no?: boolean; json: boolean },
): Promise<number> {
  const run = await muster.runs.get(id)
  const asked = run.waiting.filter(
    (waiting) => isForPerson(waiting) && (options.step === undefined || waiting.step === options.step),
  )
  if (options.yes === options.no) {
    if (options.json) print(asked)
    else if (asked.length === 0) console.log(`run ${id} (${run.status}) waits for nobody`)
    for (const { step, role, target, shown } of options.json ? [] : asked) {
      console.log(`${pc.yellow('⧖')} ${pc.bold(target)} (step ${step}) needs ${role}:\n${plain(JSON.stringify(shown))}`)
    }
    if (asked.length > 0 && !options.json) console.log(pc.dim(`answer with \`muster approve ${id} --yes\` or \`--no\``))
    return 0
  }
  const [waiting] = asked
  if (asked.length > 1)
    throw new MusterError('request.invalid', `run ${id} waits for ${asked.length} approvals: name one with --step`)
  if (!waiting?.digest)
    throw new MusterError(
      'approval.not_found',
      `run ${id} waits for no approval${options.step === undefined ? '' : ` of step ${options.step}`}`,
    )
  const verdict = options.yes ? 'approve' : 'deny'
  await muster.runs.approve(id, { step: waiting.step, verdict, digest: waiting.digest })
  if (options.json) print({ run: id, step: waiting.step, verdict })
  else
    console.log(
      `${verdict === 'approve' ? pc.green('approved') : pc.yellow('refused')} ${waiting.target}: follow it with \`muster trace ${id}\``,
    )
  return 0
}
