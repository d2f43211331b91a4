import type { DefinitionManifest, Schedule } from '@muster/protocol'
import { MusterError } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { dateOf, plain, print, tableOf } from '../output.ts'
import { readJson } from '../read-json.ts'

export interface CreateOptions {
  cron?: string
  zone?: string
  every?: number
  at?: string
  input: string
  overlap?: 'skip' | 'allow' | 'queue' | 'cancel'
  json: boolean
}

/** `muster schedules`: the schedules and when each fires next. */
export async function schedulesCommand(muster: Muster, json: boolean): Promise<number> {
  const schedules = await muster.schedules.list()
  if (json) print({ schedules })
  else if (schedules.length === 0) console.log('there is no schedule')
  else console.log(table(schedules))
  return 0
}

function table(schedules: readonly Schedule[]): string {
  const rows = tableOf(['schedule', 'runs', 'when', 'next', 'fired'])
  for (const { id, run, when, next, paused, fired } of schedules) {
    const what = run.agent ?? (typeof run.plan === 'string' ? run.plan : 'inline')
    const then = paused ? pc.yellow('paused') : next === undefined ? pc.dim('never') : dateOf(next)
    rows.push([id, plain(what), plain(whenText(when)), then, fired])
  }
  return rows.toString()
}

function whenText({ cron, timeZone, everyS, at }: Schedule['when']): string {
  if (cron !== undefined) return timeZone === undefined ? cron : `${cron} (${timeZone})`
  return everyS === undefined ? dateOf(at ?? 0) : `every ${everyS} s`
}

/** `muster schedule create`: starts runs of an agent or plan by the clock. */
export async function createScheduleCommand(muster: Muster, name: string, options: CreateOptions): Promise<number> {
  const { cron, zone, every, at, overlap } = options
  const { definitions } = await muster.request<{ definitions: DefinitionManifest[] }>('GET', '/v1/definitions')
  const definition = definitions.find((one) => one.name === name)
  if (!definition) {
    const known = definitions.map((one) => one.name).join(', ') || 'none: no worker has started yet'
    throw new MusterError('definition.not_found', `There is no agent or plan "${name}". Known: ${known}`)
  }
  const input = await readJson(options.input, '--input', definition.input)
  const once = at === undefined ? undefined : Date.parse(at)
  if (Number.isNaN(once))
    throw new MusterError('request.invalid', `--at: "${at}" is no time, such as 2030-01-31T09:00:00Z`)
  const made = await muster.schedules.create({
    when: {
      ...(cron === undefined ? {} : { cron }),
      ...(zone === undefined ? {} : { timeZone: zone }),
      ...(every === undefined ? {} : { everyS: every }),
      ...(once === undefined ? {} : { at: once }),
    },
    run: definition.kind === 'agent' ? { agent: name, input } : { plan: name, input },
    ...(overlap === undefined ? {} : { overlap }),
  })
  if (options.json) print(made)
  else console.log(`${made.id} fires at\n${made.upcoming.map((ms) => `  ${dateOf(ms)}`).join('\n')}`)
  return 0
}

/** `muster schedule backfill <id>`: the runs of planned times that have passed. */
export async function backfillCommand(
  muster: Muster,
  id: string,
  { from, to, dryRun = false, json }: { from: string; to: string; dryRun?: boolean; json: boolean },
): Promise<number> {
  const [first, last] = [from, to].map((text, i) => {
    const ms = Date.parse(text)
    if (!Number.isNaN(ms)) return ms
    throw new MusterError(
      'request.invalid',
      `${i === 0 ? '--from' : '--to'}: "${text}" is no time, such as 2030-01-31T09:00:00Z`,
    )
  }) as [number, number]
  const planned = await muster.schedules.backfill(id, { from: first, to: last, dryRun })
  if (json) print({ planned })
  else if (planned.length === 0) console.log('nothing was planned in that time')
  else console.log(planned.map(({ at, run }) => `${dateOf(at)}  ${run ?? pc.dim('would be started')}`).join('\n'))
  return 0
}

/** `muster schedule <action> <id>`. */
export async function scheduleActionCommand(
  muster: Muster,
  action: 'pause' | 'resume' | 'trigger' | 'remove',
  id: string,
  json: boolean,
): Promise<number> {
  const done = await muster.schedules[action](id)
  if (json) print(typeof done === 'string' ? { id, run: done } : (done ?? { id }))
  else if (typeof done === 'string') console.log(`began ${done}: follow it with \`muster trace ${done}\``)
  else console.log(`${action === 'remove' ? 'removed' : `${action}d`} ${id}`)
  return 0
}
