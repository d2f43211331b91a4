import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { dateOf, plain, print } from '../output.ts'
import { warnIfUnknown } from '../unknown-name.ts'

/** `muster stops`: what is stopped. */
export async function stopsCommand(muster: Muster, json: boolean): Promise<number> {
  const stops = await muster.stops.list()
  if (json) print({ stops })
  else if (stops.length === 0) console.log('nothing is stopped')
  else
    for (const { name, by, at, reason } of stops)
      console.log(
        `${pc.red('■')} ${pc.bold(plain(name))} since ${dateOf(at)} by ${plain(by)}${reason === undefined ? '' : `: ${plain(reason)}`}`,
      )
  return 0
}

/** `muster stop <name>`: nothing of it begins any more, in all workers. */
export async function stopCommand(
  muster: Muster,
  name: string,
  { reason, json }: { reason?: string; json: boolean },
): Promise<number> {
  const made = await muster.stops.set(name, reason === undefined ? {} : { reason })
  if (json) print(made)
  else {
    console.log(`stopped ${plain(name)} everywhere: lift it with \`muster lift ${plain(name)}\``)
    await warnIfUnknown(muster, name)
  }
  return 0
}
