import { MusterError, type RunStatus, type RunSummary } from '@muster/protocol'
import type { ActionOptions, RunAction } from '@muster/sdk'
import { type Command, Option } from 'commander'
import pc from 'picocolors'
import { action, flag, type Json, positive, several } from '../command.ts'
import { client } from '../connection.ts'
import { dateOf, money, plain, print, tableOf } from '../output.ts'
import { approvalsCommand, approveCommand, type Verdict } from './approve-command.ts'
import { traceCommand, traceSessionCommand } from './trace-command.ts'

export function addRuns(program: Command): void {
  program.commandsGroup('Runs:')

  program
    .command('run <name>')
    .description('start a run of an agent or plan and follow it')
    .option('--input <file>', 'a file, - for standard input, or JSON itself (default: {})')
    .option(
      '--file <path[#name]>',
      'an image or a file: after the text that the input is, or in its field of this name; may be repeated',
      several,
      [],
    )
    .option('--session <name>', 'conversation that the run continues')
    .option('--subject <name>', 'whom its content is about, as a pseudonym: `muster erase` erases by it')
    .option('--idempotency-key <key>', 'the same key and input give the same run; with --batch, and the same line')
    .addOption(
      new Option('--batch <file>', 'a run for each line of a file (or - for standard input): JSON as input').conflicts([
        'input',
        'file',
        'detach',
      ]),
    )
    .option('--detach', 'print the run id and leave it running')
    .option(...flag)
    .action(
      (
        name: string,
        options: {
          input?: string
          file: string[]
          session?: string
          subject?: string
          idempotencyKey?: string
          detach?: boolean
          batch?: string
        } & Json,
      ) =>
        action(async (config) => {
          if (options.batch !== undefined) {
            const { batchCommand } = await import('./batch-command.ts')
            return batchCommand(client(config), name, { ...options, file: options.batch })
          }
          const { runCommand } = await import('./run-command.ts')
          return runCommand(client(config), name, options)
        }, options.json),
    )

  program
    .command('runs')
    .description('list runs, newest first')
    .option('--status <status>', 'queued, running, waiting, succeeded, failed or cancelled')
    .option('--name <name>', 'of an agent or plan')
    .option('--error <code>', 'that ended with this error')
    .option('--session <name>', 'of this conversation')
    .option('--limit <n>', 'how many', positive, 20)
    .option('--cursor <cursor>', 'where to go on')
    .option(...flag)
    .action(
      (
        options: {
          status?: RunStatus
          name?: string
          error?: string
          session?: string
          limit: number
          cursor?: string
        } & Json,
      ) =>
        action(async (config) => {
          const { json, ...filter } = options
          const page = await client(config).runs.list(filter)
          if (json) print(page)
          else {
            const none = `${page.cursor === undefined ? 'there is no run' : 'none of the newest runs is'} like this`
            console.log(
              (page.runs.length === 0 ? none : runsTable(page.runs)) +
                (page.cursor === undefined ? '' : pc.dim(`\nmore: --cursor ${page.cursor}`)),
            )
          }
        }, options.json),
    )

  program
    .command('trace [run]')
    .description('show what a run did, step by step; or the runs of a session, one after the other')
    .option('--session <name>', 'of this conversation, such as `dora/<session>` of Codex')
    .option(...flag)
    .action((id: string | undefined, { session, json }: { session?: string } & Json) =>
      action(async (config) => {
        if (session !== undefined && id === undefined) return traceSessionCommand(client(config), session, json)
        if (session === undefined && id !== undefined) return traceCommand(client(config), id, json)
        throw new MusterError('request.invalid', 'give a run, or --session with its name')
      }, json),
    )

  program
    .command('say <run> [text]')
    .description('say something to a running agent')
    .option(
      '--file <path[#name]>',
      'an image or a file, with the name that the agent is told; may be repeated',
      several,
      [],
    )
    .option('--interrupt', 'cancel what it has under way first', false)
    .option(...flag)
    .action((id: string, text: string | undefined, options: { interrupt: boolean; file: string[] } & Json) =>
      action(async (config) => {
        const { saidOf } = await import('./read-files.ts')
        await client(config).runs.of(id).say(saidOf(text, options.file), { interrupt: options.interrupt })
        if (options.json) print({ run: id })
        else console.log(`said: follow it with \`muster trace ${id}\``)
        return 0
      }, options.json),
    )

  program
    .command('signal <run> <name>')
    .description('send a run a signal that it waits for, or will')
    .option('--payload <file>', 'a file, - for standard input, or JSON itself', 'null')
    .option('--idempotency-key <key>', 'the same key sends it once')
    .option(...flag)
    .action((id: string, name: string, options: { payload: string; idempotencyKey?: string } & Json) =>
      action(async (config) => {
        const { readJson } = await import('../read-json.ts')
        const payload = await readJson(options.payload, '--payload')
        const { idempotencyKey } = options
        await client(config).runs.signal(id, name, payload, idempotencyKey === undefined ? {} : { idempotencyKey })
        if (options.json) print({ run: id, signal: name })
        else console.log(`sent ${name}: follow it with \`muster trace ${id}\``)
        return 0
      }, options.json),
    )

  program
    .command('approve <run>')
    .description('show what a run waits for, and answer it')
    .option('--step <step>', 'which step, when several wait')
    .option('--yes', 'let exactly this happen')
    .option('--no', 'refuse it')
    .option('--reason <text>', 'why; some approvals need it')
    .option(
      '--edit <file>',
      'let the tool be called with this input instead: a file, - for standard input, or JSON itself',
    )
    .option(...flag)
    .action((id: string, { edit, ...options }: Verdict & { step?: string; edit?: string }) =>
      action(async (config) => {
        const { readJson } = await import('../read-json.ts')
        const edited = edit === undefined ? {} : { edit: await readJson(edit, '--edit') }
        return approveCommand(client(config), id, { ...options, ...edited })
      }, options.json),
    )

  program
    .command('approvals')
    .description('list what waits for people, and answer all of it')
    .option('--role <role>', 'what this role may answer')
    .option('--target <name>', 'of this tool, model or agent')
    .option('--yes', 'let exactly what is listed happen')
    .option('--no', 'refuse it')
    .option('--reason <text>', 'why; some approvals need it')
    .option('--force', 'answer without being asked whether that is meant')
    .option(...flag)
    .action((options: Verdict & { role?: string; target?: string; force?: boolean }) =>
      action((config) => approvalsCommand(client(config), options), options.json),
    )

  for (const [name, about, done] of [
    ['cancel', 'end a run; one whose plan rolls back undoes first what it did', 'to end'],
    ['terminate', 'end a run at once, and undo nothing', 'to end at once'],
    ['pause', 'let no step of a run begin any more', 'to pause'],
    ['resume', 'let a paused run go on', 'to go on'],
  ] as const) {
    program
      .command(`${name} <run>`)
      .description(about)
      .option(...flag)
      .action((id: string, { json }: Json) =>
        action(async (config) => {
          await client(config).runs.of(id)[name]()
          if (json) print({ id })
          else console.log(`asked run ${id} ${done}`)
        }, json),
      )
  }

  program
    .command('fork <run>')
    .description('begin a new run from a step of another: what came before is taken over')
    .option('--step <step>', 'done anew, with all that comes after; from the start unless given')
    .option('--input <file>', 'other input: a file, - for standard input, or JSON itself')
    .option('--as <version>', 'another version of the agent or plan')
    .option(...flag)
    .action((id: string, options: { step?: string; input?: string; as?: string } & Json) =>
      action(async (config) => {
        const { json, input, as, ...from } = options
        const { readJson } = await import('../read-json.ts')
        const begun = await client(config)
          .runs.of(id)
          .fork({
            ...from,
            ...(as === undefined ? {} : { version: as }),
            ...(input === undefined ? {} : { input: await readJson(input, '--input') }),
          })
        if (json) print({ id: begun.id, origin: id })
        else console.log(`began ${begun.id}: follow it with \`muster trace ${begun.id}\``)
      }, options.json),
    )

  program
    .command('restart <run>')
    .description('begin a run that failed or was cancelled anew from there')
    .option(...flag)
    .action((id: string, { json }: Json) =>
      action(async (config) => {
        const begun = await client(config).runs.of(id).restart()
        if (json) print({ id: begun.id, origin: id })
        else console.log(`began ${begun.id}: follow it with \`muster trace ${begun.id}\``)
      }, json),
    )

  program
    .command('all <action>')
    .description('cancel, terminate, pause, resume or restart all runs of a filter')
    .option('--status <status>', 'queued, running, waiting, failed or cancelled')
    .option('--name <name>', 'of an agent or plan')
    .option('--error <code>', 'that ended with this error')
    .option('--dry-run', 'tell which runs it would touch, and do nothing', false)
    .option(...flag)
    .action((what: RunAction, options: ActionOptions & Json) =>
      action(async (config) => {
        const { json, ...filter } = options
        const { actCommand } = await import('./act-command.ts')
        return actCommand(client(config), what, filter, json)
      }, options.json),
    )
}

function runsTable(runs: readonly RunSummary[]): string {
  const table = tableOf(['run', 'what', 'status', 'created', 'steps', 'cost'])
  for (const run of runs) {
    const status = {
      succeeded: pc.green,
      failed: pc.red,
      cancelled: pc.dim,
      waiting: pc.yellow,
      running: pc.cyan,
      queued: pc.dim,
    }[run.status]
    table.push([
      run.id,
      plain(`${run.name}@${run.version}`),
      status(run.status),
      dateOf(run.createdAt),
      run.steps,
      money(run.costUsd),
    ])
  }
  return table.toString()
}
