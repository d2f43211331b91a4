import { createInterface } from 'node:readline/promises'
import { type Erasure, MusterError, type NewErasure, type NewHold } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { newContentKey } from '@muster/worker/settings'
import pc from 'picocolors'
import { addKey } from '../key-file.ts'
import { dateOf, plain, print } from '../output.ts'

const POLL_MS = 500

/** `muster erasure key`: makes a master key; with `rotate` before those that the file has, which go on opening. */
export function erasureKeyCommand(file: string, { json, rotate }: { json: boolean; rotate: boolean }): undefined {
  addKey(file, newContentKey(), rotate)
  if (json) print({ file })
  else console.log(`made a master key of content in ${file}: servers and workers need it (MUSTER_CONTENT_KEY_FILE)`)
}

export interface EraseOptions {
  subject?: string
  run?: string
  tenant?: string
  reason: string
  terminate: boolean
  dryRun: boolean
  yes: boolean
  wait: boolean
  json: boolean
}

/** `muster erase`: says what there is, asks, and follows the erasure to its end. */
export async function eraseCommand(muster: Muster, options: EraseOptions): Promise<number> {
  const { subject, run, tenant, reason, terminate, dryRun, yes, wait, json } = options
  const what: Omit<NewErasure, 'dryRun'> = {
    reason,
    ...(subject === undefined ? {} : { subject }),
    ...(run === undefined ? {} : { run }),
    ...(tenant === undefined ? {} : { tenant: true, confirm: tenant }),
    ...(terminate ? { terminate } : {}),
  }
  const plan = await muster.erasures.plan(what)
  if (dryRun) {
    if (json) print(plan)
    else console.log(planText(what, plan.runs, plan.entries, plan.waitsFor.length, plan.heldBy))
    return 0
  }
  if (!yes) {
    if (json || !process.stdin.isTTY)
      throw new MusterError('request.invalid', 'Nobody can be asked here: look with --dry-run, then add --yes')
    console.log(planText(what, plan.runs, plan.entries, plan.waitsFor.length, plan.heldBy))
    const ask = createInterface({ input: process.stdin, output: process.stdout })
    const answer = await ask.question('Erase it for ever? Type "erase": ')
    ask.close()
    if (answer.trim() !== 'erase') return 1
  }
  let found = await muster.erasures.request(what)
  let told = ''
  // What is held waits for people.
  while (wait && found.state !== 'done' && found.state !== 'held') {
    const line = progressOf(found)
    if (!json && line !== told) console.error(pc.dim(line))
    told = line
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    found = await muster.erasures.get(found.id)
  }
  if (json) print(found)
  else console.log(textOf(found))
  return wait && found.state === 'held' ? 3 : 0
}

function planText(
  what: Omit<NewErasure, 'dryRun'>,
  runs: number,
  entries: number,
  going: number,
  held: readonly string[],
): string {
  const of = what.subject ?? what.run ?? `the whole tenant ${what.confirm ?? ''}`
  const waits =
    going === 0 ? '' : `\n${going} have not ended: ${what.terminate ? 'they are ended' : 'they are waited for'}`
  const holds = held.length === 0 ? '' : `\nheld by ${held.join(', ')}: it waits until that is lifted`
  return `content of ${plain(of)}: ${runs} runs, ${entries} entries${waits}${holds}`
}

function progressOf({ state, waitsFor = [], erased }: Erasure): string {
  if (state === 'waiting' && waitsFor.length > 0)
    return `waits for ${waitsFor.length} runs to end: ${waitsFor.slice(0, 3).join(', ')}`
  if (state === 'erasing') return `${erased.runs} runs erased`
  return state === 'settling' ? 'keys are destroyed; processes forget them' : state
}

function textOf(found: Erasure): string {
  const { id, state, by, at, reason, heldBy, erased, left = [] } = found
  const of = found.subject ?? found.run ?? 'the whole tenant'
  const mark = state === 'done' ? pc.green('✓') : pc.yellow('…')
  const { runs, entries, turns, facts, blobs } = erased
  const lines = [
    `${mark} ${pc.bold(plain(of))} ${state} ${pc.dim(id)}`,
    `  asked for by ${plain(by.user)} at ${dateOf(at)}: ${plain(reason)}`,
    `  ${runs} runs, ${entries} entries, ${turns} turns, ${facts} facts, ${blobs} large contents`,
    ...(heldBy ? [`  held by ${heldBy.join(', ')}`] : []),
    ...left.map((one) => pc.dim(`  not reached: ${one}`)),
  ]
  return lines.join('\n')
}

/** `muster erasures`. */
export async function erasuresCommand(muster: Muster, json: boolean): Promise<number> {
  const erasures = await Array.fromAsync(muster.erasures.list())
  if (json) print({ erasures })
  else console.log(erasures.length === 0 ? 'nothing was erased' : erasures.map(textOf).join('\n'))
  return 0
}

/** `muster hold place`. */
export async function placeHoldCommand(muster: Muster, what: NewHold, json: boolean): Promise<number> {
  const made = await muster.holds.place(what)
  if (json) print(made)
  else console.log(`held: lift it with \`muster hold lift ${made.id} --reason <why>\``)
  return 0
}

/** `muster hold list`. */
export async function holdsCommand(muster: Muster, json: boolean): Promise<number> {
  const holds = await Array.fromAsync(muster.holds.list())
  if (json) print({ holds })
  else if (holds.length === 0) console.log('nothing is held')
  else
    for (const { id, by, at, reason, lifted, since, until, subject, run, name } of holds) {
      const of = [
        ...Object.entries({ subject, run, name }).flatMap(([what, value]) =>
          value ? [`${what} ${plain(value)}`] : [],
        ),
        ...(since === undefined ? [] : [`since ${dateOf(since)}`]),
        ...(until === undefined ? [] : [`until ${dateOf(until)}`]),
      ]
      const over = lifted ? `, lifted at ${dateOf(lifted.at)} by ${plain(lifted.by.user)}: ${plain(lifted.reason)}` : ''
      console.log(
        `${lifted ? pc.dim('□') : pc.yellow('■')} ${pc.bold(of.join(', '))} ${pc.dim(id)} at ${dateOf(at)} by ${plain(by.user)}: ${plain(reason)}${over}`,
      )
    }
  return 0
}

/** `muster hold lift`. */
export async function liftHoldCommand(muster: Muster, id: string, reason: string, json: boolean): Promise<number> {
  const lifted = await muster.holds.lift(id, reason)
  if (json) print(lifted)
  else console.log(`lifted ${id}`)
  return 0
}

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000

/** `muster retention`: the rules, and what is due; nothing is done. */
export async function retentionCommand(muster: Muster, json: boolean): Promise<number> {
  const state = await muster.retention.get()
  if (json) {
    print(state)
    return 0
  }
  const termOf = (ms: number | undefined) => (ms === undefined ? 'for ever' : `${ms / DAY_MS} days`)
  for (const [i, { name, status, content, memory, run }] of state.rules.entries())
    console.log(
      `${i}: ${plain(name ?? 'all')}${status === undefined ? '' : ` that ${plain(status)}`}: content ${termOf(content ?? run)}, memory ${termOf(memory)}, runs ${termOf(run)}`,
    )
  if (state.rules.length === 0) console.log('everything is kept for ever')
  const { content, memory, runs, held, failing, looked, more, overdueMs } = state.due
  const of = `${more ? 'at least ' : ''}${looked} old enough`
  console.log(
    `due, of ${of}: content of ${content}, what ${memory} have left in memory, ${runs} runs whole; held back: ${held}`,
  )
  if (content + memory + runs > 0) console.log(`the first of these for ${(overdueMs / HOUR_MS).toFixed(1)} hours`)
  if (failing > 0) console.log(`${failing} could not be expired and are tried again: the workers' logs say why`)
  return 0
}
