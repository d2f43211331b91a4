import { type DefinitionManifest, isForPerson, type ModelDelta, type Run, type RunEvent } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { duration, money, plain, print } from '../output.ts'
import { readJson } from '../read-json.ts'
import { withFiles } from './read-files.ts'
import { waitsFor } from './waterfall.ts'

/** Exit code of a run that waits for a person. */
const WAITS = 3

/** How often it is asked whether any worker can take the run. */
const HELD_UP_MS = 2000

export interface RunOptions {
  input?: string
  file: readonly string[]
  session?: string
  subject?: string
  idempotencyKey?: string
  detach?: boolean
  json: boolean
}

/** `muster run`: starts a run, shows its progress, prints what it gives. Gives the exit code. */
export async function runCommand(muster: Muster, name: string, options: RunOptions): Promise<number> {
  const { definitions } = await muster.request<{ definitions: DefinitionManifest[] }>('GET', '/v1/definitions')
  const definition = definitions.find((candidate) => candidate.name === name)
  const given = options.input === undefined ? undefined : await readJson(options.input, '--input', definition?.input)
  const input = options.file.length > 0 ? withFiles(given, options.file, definition?.input) : (given ?? {})
  const handle = await muster.runs.start(name, input, {
    ...(options.session === undefined ? {} : { session: options.session }),
    ...(options.subject === undefined ? {} : { subject: options.subject }),
    ...(options.idempotencyKey === undefined ? {} : { idempotencyKey: options.idempotencyKey }),
  })
  if (options.detach) {
    if (options.json) print(await handle.get())
    else console.log(handle.id)
    return 0
  }
  const stopped = new AbortController()
  const detach = () => {
    console.error(
      `\n${pc.yellow('detached')}: the run goes on. Follow it with \`muster trace ${handle.id}\`, end it with \`muster cancel ${handle.id}\`.`,
    )
    stopped.abort()
  }
  process.once('SIGINT', detach)
  if (!options.json) console.error(pc.dim(`run ${handle.id}`))
  // One that no worker can take would be waited for in silence.
  const watching = setInterval(async () => {
    const { heldUp } = await handle.get().catch(() => ({ heldUp: undefined }))
    if (!heldUp) return
    clearInterval(watching)
    if (!options.json) console.error(`${pc.yellow('waits')} ${plain(heldUp.message)}`)
  }, HELD_UP_MS).unref()
  const live = process.stderr.isTTY && !options.json ? new Answer() : undefined
  const { signal } = stopped
  for await (const event of live ? handle.events({ signal, deltas: true }) : handle.events({ signal })) {
    if ('delta' in event) {
      live?.write(event.delta)
      continue
    }
    live?.end()
    if (!options.json) progress(event)
    if (event.entry.type === 'run.parked' && (await handle.get()).waiting.some((waiting) => waiting.for !== 'child'))
      break
  }
  clearInterval(watching)
  process.removeListener('SIGINT', detach)
  if (stopped.signal.aborted) return 130
  return report(await handle.get(), options.json)
}

/** What models write, as they write it; the step's outcome is shown as ever when it comes. */
class Answer {
  #of = ''

  write({ step, attempt, text }: ModelDelta): void {
    const of = `${step} ${attempt}`
    if (this.#of !== '' && this.#of !== of) this.end()
    this.#of = of
    process.stderr.write(pc.dim(plain(text)))
  }

  end(): void {
    if (this.#of !== '') process.stderr.write('\n')
    this.#of = ''
  }
}

function report(run: Run, json: boolean): number {
  if (json) print(run)
  else if (run.status === 'succeeded') print(run.output)
  else if (run.error)
    console.error(
      `${pc.red(run.status)} ${run.error.code}: ${plain(run.error.message)}\n${pc.dim(`see \`muster trace ${run.id}\``)}`,
    )
  if (run.status === 'waiting') {
    for (const waiting of run.waiting.filter((waiting) => waiting.for !== 'child')) {
      const { step, role, target } = waiting
      const what = isForPerson(waiting)
        ? `for ${role} to approve ${target === role ? '' : `${target} `}(step ${step}): \`muster approve ${run.id}\` shows it`
        : `for ${waitsFor(waiting)} (step ${step})`
      console.error(`${pc.yellow('waits')} ${what}`)
    }
    return WAITS
  }
  return run.status === 'succeeded' ? 0 : 1
}

function progress({ entry }: RunEvent): void {
  if (entry.type === 'step.ended' && !entry.retry) {
    const mark = entry.status === 'ok' ? pc.green('✓') : entry.status === 'denied' ? pc.yellow('⊘') : pc.red('✗')
    const error = entry.error ? pc.yellow(` ${entry.error.code}: ${plain(entry.error.message)}`) : ''
    console.error(
      `${mark} ${plain(entry.step)} ${pc.dim(`${duration(entry.durationMs)} ${money(entry.costUsd ?? 0)}`)}${error}`,
    )
  } else if (entry.type === 'step.ended') {
    console.error(
      `${pc.yellow('↻')} ${plain(entry.step)} ${pc.dim(`attempt ${entry.attempt} failed: ${plain(entry.error?.message ?? '')}`)}`,
    )
  } else if (entry.type === 'step.waiting') {
    console.error(`${pc.yellow('⧖')} ${plain(entry.step)} ${pc.dim(`waits for ${waitsFor(entry)}`)}`)
  } else if (entry.type === 'run.activated' && entry.epoch > 1) {
    console.error(pc.dim(`taken up by ${entry.worker} (activation ${entry.epoch})`))
  }
}
