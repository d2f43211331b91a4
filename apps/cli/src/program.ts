import {
  type Config,
  describeConfig,
  MusterError,
  type RunStatus,
  type RunSummary,
  readConfig,
  recordAction,
  type WorkerInfo,
} from '@muster/protocol'
import type { ActionOptions, RunAction } from '@muster/sdk'
import { Command, Help, InvalidArgumentError, Option } from 'commander'
import pc from 'picocolors'
import { approvalsCommand, approveCommand, type Verdict } from './approve-command.ts'
import type { ExportFlags, VerifyFlags } from './audit-command.ts'
import type { EventFormat } from './audit-events-command.ts'
import type { RecordsOptions } from './audit-records-command.ts'
import type { SearchOptions } from './audit-search-command.ts'
import type { CodexFlags } from './codex-command.ts'
import { client } from './connection.ts'
import type { EraseOptions } from './erasure-command.ts'
import { dateOf, fail, money, plain, print, tableOf } from './output.ts'
import type { CreateOptions } from './schedule-command.ts'
import { traceCommand, traceSessionCommand } from './trace-command.ts'
import { verifyCommand } from './verify-command.ts'
import { VERSION } from './version.ts'

// What only some commands need is loaded by them: `muster runs` need not wait for a server's dependencies.
const program = new Command('muster')
  .description('A runtime for managed agents: durable, governed, provable.')
  .version(VERSION)
  .showHelpAfterError('add --help to see what it takes')
  // That a flag is off, or a list empty, until it is given goes without saying.
  .configureHelp({
    optionDescription(option) {
      return Help.prototype.optionDescription.call(this, option).replace(/ \(default: (false|\[\])\)$/, '')
    },
  })
  .enablePositionalOptions()

/** Runs an action with the configuration; a failure is told as a person or a program can read it. */
function action(run: (config: Config) => Promise<number | undefined>, json = false): Promise<void> {
  return (async () => run(readConfig(process.env)))().then(
    (code) => {
      if (typeof code === 'number') process.exitCode = code
    },
    (error) => {
      process.exitCode = fail(error, json)
    },
  )
}

interface Json {
  json: boolean
}

const flag = ['--json', 'print JSON for programs', false] as const
const several = (value: string, before: readonly string[]) => [...before, value]

program
  .command('dev')
  .description('start everything on this machine; without --app, the demo')
  .option('--app <module>', 'module that exports your agents, tools and plans (MUSTER_APP)')
  .option('--policy <path>', 'Cedar policy files or folders; the default set unless given (MUSTER_POLICY)')
  .action((options: { app?: string; policy?: string }) =>
    action(async (config) => {
      const { devCommand } = await import('./dev-command.ts')
      await devCommand({
        ...config,
        MUSTER_APP: options.app ?? config.MUSTER_APP,
        MUSTER_POLICY: options.policy ?? config.MUSTER_POLICY,
      })
    }),
  )

program
  .command('server')
  .description('the HTTP API')
  .action(async () => {
    const { serve, serverCommand } = await import('./service-command.ts')
    await serve(async (signal) => serverCommand(readConfig(process.env), signal))
  })

program
  .command('worker')
  .description('take runs and drive them')
  .option('--app <module>', 'module that exports your agents, tools and plans (MUSTER_APP)')
  .action(async (options: { app?: string }) => {
    const { serve, workerCommand } = await import('./service-command.ts')
    await serve(async (signal) => {
      const config = readConfig(process.env)
      return workerCommand({ ...config, MUSTER_APP: options.app ?? config.MUSTER_APP }, signal)
    })
  })

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
        else if (page.runs.length === 0) console.log('there is no run like this')
        else
          console.log(
            runsTable(page.runs) + (page.cursor === undefined ? '' : pc.dim(`\nmore: --cursor ${page.cursor}`)),
          )
      }, options.json),
  )

program
  .command('workers')
  .description('list the workers that live, and what they carry')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { workers } = await client(config).request<{ workers: WorkerInfo[] }>('GET', '/v1/workers')
      if (json) print({ workers })
      else if (workers.length === 0) console.log('no worker is running')
      else console.log(workersTable(workers))
      return 0
    }, json),
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
  .command('verify <run>')
  .description("check a run's journal: every byte of every entry, and their order")
  .option(...flag)
  .action((id: string, { json }: Json) => action((config) => verifyCommand(client(config), id, json), json))

const collect = (value: string, before: string[]) => [...before, value]
const keyOption = [
  '--key <vkey>',
  'a key of the ledger that you trust, or of a witness; several may be given; without one, those that the server names',
  collect,
  [] as string[],
] as const

program
  .command('receipt <run>')
  .description("check that a run's journal is what the ledger has of it")
  .option(...keyOption)
  .option('--out <file>', 'write the proof, to be kept and checked offline (C2SP tlog-proof)')
  .option(...flag)
  .action((id: string, options: { key: string[]; out?: string } & Json) =>
    action(async (config) => {
      const { receiptCommand } = await import('./ledger-command.ts')
      return receiptCommand(client(config), id, options)
    }, options.json),
  )

const ledger = program.command('ledger').description('the ledger that heads of runs enter')
ledger
  .command('show', { isDefault: true })
  .description('check its checkpoint, and that it begins with what was seen of it before')
  .option(...keyOption)
  .option(...flag)
  .action((options: { key: string[] } & Json) =>
    action(async (config) => {
      const { ledgerCommand } = await import('./ledger-command.ts')
      return ledgerCommand(client(config), config, options)
    }, options.json),
  )
ledger
  .command('check')
  .description('check every leaf against the journals as they are')
  .option(...keyOption)
  .option(...flag)
  .action((options: { key: string[] } & Json) =>
    action(async (config) => {
      const { ledgerCheckCommand } = await import('./ledger-command.ts')
      return ledgerCheckCommand(client(config), options)
    }, options.json),
  )
ledger
  .command('witness')
  .description('compare it with every checkpoint that the folders and buckets in MUSTER_LEDGER_WITNESSES keep')
  .option(...keyOption)
  .option(...flag)
  .action((options: { key: string[] } & Json) =>
    action(async (config) => {
      const { ledgerWitnessCommand } = await import('./ledger-command.ts')
      return ledgerWitnessCommand(client(config), config, options)
    }, options.json),
  )
ledger
  .command('vkeys <tenant>')
  .description("print the keys of a tenant's ledger, for who verifies it")
  .option(...flag)
  .action((tenant: string, { json }: Json) =>
    action(async (config) => {
      const { ledgerVkeysCommand } = await import('./ledger-command.ts')
      return ledgerVkeysCommand(config, tenant, json)
    }, json),
  )
ledger
  .command('key <file>')
  .description('make a key that signs it')
  .option('--rotate', 'beside the keys that the file has: all sign, until you take the old one out', false)
  .option(...flag)
  .action((file: string, options: { rotate: boolean } & Json) =>
    action(async () => {
      const { ledgerKeyCommand } = await import('./ledger-command.ts')
      return ledgerKeyCommand(file, options)
    }, options.json),
  )

const erasure = program.command('erasure').description('keys of content, and what was erased by them')
erasure
  .command('key <file>')
  .description('make a master key, which wraps the keys of tenants')
  .option('--rotate', 'before the keys that the file has: they go on opening what they have wrapped', false)
  .option(...flag)
  .action((file: string, options: { rotate: boolean } & Json) =>
    action(async () => {
      const { erasureKeyCommand } = await import('./erasure-command.ts')
      return erasureKeyCommand(file, options)
    }, options.json),
  )

program
  .command('erase')
  .description('erase the content of a subject, a run or the tenant for ever; entries stay, and verify')
  .addOption(new Option('--subject <name>', 'all content about it').conflicts(['run', 'tenant']))
  .addOption(new Option('--run <run>', 'content of this run').conflicts(['tenant']))
  .option('--tenant <name>', 'all content of the tenant; its name, to be sure')
  .requiredOption('--reason <text>', 'why: it is kept')
  .option('--terminate', 'end runs that have not ended; otherwise they are waited for', false)
  .option('--dry-run', 'tell what there is, and do nothing', false)
  .option('--yes', 'do not ask', false)
  .option('--no-wait', 'do not wait until it is done')
  .option(...flag)
  .action((options: EraseOptions) =>
    action(async (config) => {
      const { eraseCommand } = await import('./erasure-command.ts')
      return eraseCommand(client(config), options)
    }, options.json),
  )
program
  .command('erasures')
  .description('what was erased, by whom and why, and what is being erased')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { erasuresCommand } = await import('./erasure-command.ts')
      return erasuresCommand(client(config), json)
    }, json),
  )

program
  .command('retention')
  .description('how long what is kept (MUSTER_RETENTION), and what is due')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { retentionCommand } = await import('./erasure-command.ts')
      return retentionCommand(client(config), json)
    }, json),
  )

const hold = program.command('hold').description('legal hold: what is neither erased nor expires')
hold
  .command('place')
  .description('hold runs: all that is given must hold of one')
  .option('--subject <name>', 'about this subject')
  .option('--run <run>', 'this run')
  .option('--name <name>', 'of this agent or plan')
  .option('--since <time>', 'created from then on')
  .option('--until <time>', 'created before then')
  .requiredOption('--reason <text>', 'why: it is kept')
  .option(...flag)
  .action(
    ({
      json,
      since,
      until,
      ...of
    }: Json & { subject?: string; run?: string; name?: string; since?: string; until?: string; reason: string }) =>
      action(async (config) => {
        const { placeHoldCommand } = await import('./erasure-command.ts')
        const { readTime } = await import('./read-time.ts')
        const times = {
          ...(since === undefined ? {} : { since: readTime(since, Date.now()) }),
          ...(until === undefined ? {} : { until: readTime(until, Date.now()) }),
        }
        return placeHoldCommand(client(config), { ...of, ...times }, json)
      }, json),
  )
hold
  .command('list')
  .description('what is held and what was, by whom and why')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { holdsCommand } = await import('./erasure-command.ts')
      return holdsCommand(client(config), json)
    }, json),
  )
hold
  .command('lift <id>')
  .description('what it held may be erased and expires again')
  .requiredOption('--reason <text>', 'why: it is kept')
  .option(...flag)
  .action((id: string, { reason, json }: { reason: string } & Json) =>
    action(async (config) => {
      const { liftHoldCommand } = await import('./erasure-command.ts')
      return liftHoldCommand(client(config), id, reason, json)
    }, json),
  )

const audit = program
  .command('audit')
  .description('what auditors ask for: exports that prove themselves, reports, events for a SIEM, search')
audit
  .command('export')
  .description('write journals, ledger, receipts, policies and keys into a folder')
  .requiredOption('--to <folder>', 'empty, or not there yet')
  .addOption(new Option('--run <run>', 'this run alone').conflicts(['since', 'until']))
  .option('--since <time>', 'runs created from then on')
  .option('--until <time>', 'runs created before then')
  .option('--key <vkey>', 'a key of a witness, to lie in it; several may be given', collect, [])
  .option('--older <checkpoint>', 'a file; with --run, it can then be checked against it', collect, [])
  .option('--sign-key <file>', 'sign the manifest with the keys in it (muster ledger key)')
  .option('--kms-key <key>', 'sign the manifest with a key of AWS KMS: its id, ARN or alias')
  .option(...flag)
  .action((options: ExportFlags & Json) =>
    action(async (config) => {
      const { auditExportCommand } = await import('./audit-command.ts')
      return auditExportCommand(client(config), config, options)
    }, options.json),
  )
audit
  .command('verify <folder>')
  .description('check an export, with no server; exits 0 when all is right, 1 when not, 2 when it is none')
  .option('--key <vkey>', "a key that you trust, in place of the export's own; several may be given", collect, [])
  .option('--exporter-key <vkey>', 'a key that must have signed the manifest; several may be given', collect, [])
  .option('--older <checkpoint>', 'a file that you kept: the ledger must begin with it', collect, [])
  .option('--receipt <file>', 'a receipt that you kept (muster receipt --out)', collect, [])
  .option('--fingerprint <sha256>', 'as it was told when it was exported')
  .option(
    '--threads <n>',
    'in how many threads journals are read; unless given, as the machine and the export are large',
    positive,
  )
  .option('--replay', 'also check what runs did: make each decision again, compare effects, money and labels', false)
  .option(...flag)
  .action((folder: string, options: VerifyFlags & Json) =>
    action(async () => {
      const { auditVerifyCommand } = await import('./audit-command.ts')
      return auditVerifyCommand(folder, options)
    }, options.json),
  )

audit
  .command('report <run>')
  .description('write what a run did as one HTML file that can be printed; exits 1 where its journal does not hold')
  .option('--to <file>', 'evidence-<run>.html unless given; - for standard output')
  .option('--no-content', 'leave inputs and outputs out, only their digests are shown')
  .option(...keyOption)
  .option(...flag)
  .action((id: string, options: { to?: string; key: string[]; content: boolean } & Json) =>
    action(async (config) => {
      const { auditReportCommand } = await import('./audit-report-command.ts')
      return auditReportCommand(client(config), id, options)
    }, options.json),
  )

audit
  .command('events')
  .description('print the entries of journals for other systems, a line each')
  .addOption(new Option('--format <format>', 'ocsf, csv or jsonl').choices(['ocsf', 'csv', 'jsonl']).default('ocsf'))
  .option('--run <id>', 'of this run; can be given several times; of all unless given', collect, [] as string[])
  .option('--since <time>', 'written from then on: 2026-11-28T09:00:00Z, or 7d, 12h, 30m ago')
  .option('--until <time>', 'written before then')
  .option('--content', 'with inputs and outputs, which are left out unless given', false)
  .option('--json', 'as --format jsonl')
  .action(
    ({
      json,
      format,
      since,
      until,
      ...options
    }: {
      format: EventFormat
      run: string[]
      since?: string
      until?: string
      content: boolean
      json?: true
    }) =>
      action(async (config) => {
        const { auditEventsCommand } = await import('./audit-events-command.ts')
        const { readTime } = await import('./read-time.ts')
        const now = Date.now()
        return auditEventsCommand(client(config), {
          ...{ ...options, format: json ? 'jsonl' : format },
          ...(since === undefined ? {} : { since: readTime(since, now) }),
          ...(until === undefined ? {} : { until: readTime(until, now) }),
        })
      }, json),
  )

audit
  .command('search')
  .description('find steps of runs: all that is given holds of one step; newest first')
  .option('--person <user>', 'asked for the run, or answered for the step')
  .option('--by <user>', 'asked for the run')
  .option('--approver <user>', 'answered for the step')
  .option('--name <name>', 'of an agent or plan')
  .option('--tool <name>', 'called, or not allowed to be')
  .option('--resource <name>', 'tool, model route, agent or memory operation')
  .addOption(new Option('--decision <effect>', 'what a policy said of it').choices(['allow', 'deny', 'ask']))
  .option('--policy <id>', 'decided by this policy')
  .option('--label <label>', 'on what it was given or gave')
  .option('--error <code>', 'ended with this error')
  .option('--status <status>', 'ok, failed, denied or cancelled; of runs, succeeded, failed or cancelled')
  .option('--field <name>', "field of a tool's input for --min and --max", 'amount')
  .option('--min <n>', 'of the field', Number)
  .option('--max <n>', 'of the field', Number)
  .option('--since <time>', '2026-11-28T09:00:00Z, or 7d, 12h, 30m ago')
  .option('--until <time>', 'before then')
  .option('--limit <n>', 'how many', positive, 50)
  .option('--cursor <cursor>', 'where to go on, with the same filter')
  .option(...flag)
  .action(({ json, ...options }: SearchOptions & Json) =>
    action(async (config) => {
      const { auditSearchCommand } = await import('./audit-search-command.ts')
      return auditSearchCommand(client(config), options, json)
    }, json),
  )

audit
  .command('records')
  .description('what was done besides runs: reads of content, policies and keys used, stops, budgets; newest first')
  .addOption(new Option('--action <action>', 'only this').choices(recordAction.options))
  .option('--user <user>', 'done by this person or service')
  .option('--run <run>', 'about this run')
  .option('--since <time>', '2026-11-28T09:00:00Z, or 7d, 12h, 30m ago')
  .option('--until <time>', 'before then')
  .option('--limit <n>', 'how many', positive, 50)
  .option('--cursor <record>', 'where to go on, with the same filter', positive)
  .option(...flag)
  .action(({ json, ...options }: RecordsOptions & Json) =>
    action(async (config) => {
      const { auditRecordsCommand } = await import('./audit-records-command.ts')
      return auditRecordsCommand(client(config), options, json)
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
      const { readJson } = await import('./read-json.ts')
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
      const { readJson } = await import('./read-json.ts')
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
      const { readJson } = await import('./read-json.ts')
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

program
  .command('budgets')
  .description('show what may be used in this day and month, and what was')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { budgetsCommand } = await import('./operations-command.ts')
      return budgetsCommand(client(config), json)
    }, json),
  )

program
  .command('models')
  .description('show where routes lead as this environment has them, and what a million tokens cost there')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { modelsCommand } = await import('./models-command.ts')
      modelsCommand(config, json)
      return undefined
    }, json),
  )

const costs = program
  .command('costs')
  .description('show what model calls cost, in this month or another')
  .option('--by <what>', 'model, provider, agent or user', 'model')
  .option('--month <month>', 'such as 2026-11')
  .option('--day [day]', 'today, or such as 2026-11-28')
  .option(...flag)
  .action(({ json, ...asked }: Json & { by: string; day?: string | true; month?: string }) =>
    action(async (config) => {
      const { costsCommand } = await import('./costs-command.ts')
      return costsCommand(client(config), asked, json)
    }, json),
  )
costs
  .command('rebuild')
  .description('make the totals anew from the journals of all runs, where Redis has lost them')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { rebuildCostsCommand } = await import('./costs-command.ts')
      return rebuildCostsCommand(client(config), json)
    }, json),
  )

program
  .command('commitments')
  .description('show how far amounts that are promised to providers are drawn down, and where that leads')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { commitmentsCommand } = await import('./costs-command.ts')
      return commitmentsCommand(client(config), json)
    }, json),
  )

const budget = program.command('budget').description('limit what a tenant, an agent or a plan may use')
budget
  .command('set <name> <budget>')
  .description(
    'of `tenant`, or agent:, plan:, key:, user: or team: and a name: a file, - for standard input, or JSON itself, as {"day":{"usd":5}}',
  )
  .option(...flag)
  .action((name: string, value: string, { json }: Json) =>
    action(async (config) => {
      const { readJson } = await import('./read-json.ts')
      const { setBudgetCommand } = await import('./operations-command.ts')
      return setBudgetCommand(client(config), name, await readJson(value, 'the budget'), json)
    }, json),
  )
budget
  .command('remove <name>')
  .description('take back what was set')
  .option(...flag)
  .action((name: string, { json }: Json) =>
    action(async (config) => {
      await client(config).budgets.remove(name)
      if (json) print({ name })
      else console.log(`removed the budget of ${plain(name)}`)
    }, json),
  )

program
  .command('stops')
  .description('show what is stopped')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { stopsCommand } = await import('./operations-command.ts')
      return stopsCommand(client(config), json)
    }, json),
  )
program
  .command('stop <name>')
  .description('stop `tenant`, agent:<name>, plan:<name>, tool:<name> or model:<route> in all workers')
  .option('--reason <text>', 'why')
  .option(...flag)
  .action((name: string, options: Json & { reason?: string }) =>
    action(async (config) => {
      const { stopCommand } = await import('./operations-command.ts')
      return stopCommand(client(config), name, options)
    }, options.json),
  )
program
  .command('lift <name>')
  .description('lift a stop: what waits for it goes on')
  .option(...flag)
  .action((name: string, { json }: Json) =>
    action(async (config) => {
      await client(config).stops.lift(name)
      if (json) print({ name })
      else console.log(`lifted ${plain(name)}`)
    }, json),
  )

program
  .command('webhooks')
  .description('list webhooks: where events of runs are sent to')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { webhooksCommand } = await import('./webhook-command.ts')
      return webhooksCommand(client(config), json)
    }, json),
  )

const webhook = program.command('webhook').description('send events of runs to an address')
webhook
  .command('create <url>')
  .description('tell an address of runs that end or wait for a person')
  .option('--events <types>', 'only these, separated by commas: run.succeeded, run.failed, run.cancelled, run.waiting')
  .option(...flag)
  .action((url: string, options: { events?: string } & Json) =>
    action(async (config) => {
      const { createWebhookCommand } = await import('./webhook-command.ts')
      return createWebhookCommand(client(config), url, options)
    }, options.json),
  )
webhook
  .command('deliveries <webhook>')
  .description('what was sent in the last week, and what came back')
  .option(...flag)
  .action((id: string, { json }: Json) =>
    action(async (config) => {
      const { deliveriesCommand } = await import('./webhook-command.ts')
      return deliveriesCommand(client(config), id, json)
    }, json),
  )
webhook
  .command('replay <webhook>')
  .description('send again')
  .option('--event <id>', 'this one')
  .option('--since <time>', 'all since then that were not delivered')
  .option(...flag)
  .action((id: string, options: { event?: string; since?: string } & Json) =>
    action(async (config) => {
      const { replayCommand } = await import('./webhook-command.ts')
      return replayCommand(client(config), id, options)
    }, options.json),
  )
for (const [what, about] of [
  ['rotate', 'give it a new secret'],
  ['test', 'send it a ping'],
  ['remove', 'send it nothing more'],
] as const) {
  webhook
    .command(`${what} <webhook>`)
    .description(about)
    .option(...flag)
    .action((id: string, { json }: Json) =>
      action(async (config) => {
        const { webhookActionCommand } = await import('./webhook-command.ts')
        return webhookActionCommand(client(config), what, id, json)
      }, json),
    )
}

program
  .command('schedules')
  .description('list schedules, and when each fires next')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const { schedulesCommand } = await import('./schedule-command.ts')
      return schedulesCommand(client(config), json)
    }, json),
  )

const schedule = program.command('schedule').description('start runs by the clock')
schedule
  .command('create <name>')
  .description('of an agent or plan; give one of --cron, --every and --at')
  .option('--cron <fields>', 'five fields as in crontab, or a name such as @daily')
  .option('--zone <name>', 'time zone of --cron; UTC unless given')
  .option('--every <seconds>', 'from one firing to the next', Number)
  .option('--at <time>', 'once, at a time such as 2030-01-31T09:00:00Z')
  .option('--input <file>', 'a file, - for standard input, or JSON itself', '{}')
  .addOption(
    new Option('--overlap <policy>', 'when the run before has not ended').choices(['skip', 'allow', 'queue', 'cancel']),
  )
  .option(...flag)
  .action((name: string, options: CreateOptions) =>
    action(async (config) => {
      const { createScheduleCommand } = await import('./schedule-command.ts')
      return createScheduleCommand(client(config), name, options)
    }, options.json),
  )
schedule
  .command('backfill <schedule>')
  .description('start the runs of planned times that have passed, those that had none')
  .requiredOption('--from <time>', 'such as 2030-01-31T09:00:00Z')
  .requiredOption('--to <time>', 'the last of them')
  .option('--dry-run', 'only tell which')
  .option(...flag)
  .action((id: string, options: { from: string; to: string; dryRun?: boolean } & Json) =>
    action(async (config) => {
      const { backfillCommand } = await import('./schedule-command.ts')
      return backfillCommand(client(config), id, options)
    }, options.json),
  )
for (const [what, about] of [
  ['pause', 'fire no more until it is resumed'],
  ['resume', 'fire again; what was passed over is not made up'],
  ['trigger', 'start a run now, besides the planned ones'],
  ['remove', 'fire no more; its runs go on'],
] as const) {
  schedule
    .command(`${what} <schedule>`)
    .description(about)
    .option(...flag)
    .action((id: string, { json }: Json) =>
      action(async (config) => {
        const { scheduleActionCommand } = await import('./schedule-command.ts')
        return scheduleActionCommand(client(config), what, id, json)
      }, json),
    )
}

const tools = program.command('tools').description('approve tools as they are, and find those that have changed')
for (const [what, about] of [
  ['approve', 'write the lock file of the tools as they are now'],
  ['check', 'show tools that differ from the lock file; exits 1 when any does'],
] as const) {
  tools
    .command(what)
    .description(about)
    .option('--app <module>', 'module that exports your agents, tools and plans (MUSTER_APP)')
    .option(...flag)
    .action(({ app, json }: { app?: string } & Json) =>
      action(async (config) => {
        const { approveToolsCommand, checkToolsCommand } = await import('./tools-command.ts')
        const configured = { ...config, MUSTER_APP: app ?? config.MUSTER_APP }
        return what === 'check' ? checkToolsCommand(configured, json) : approveToolsCommand(configured, json)
      }, json),
    )
}

const policy = program.command('policy').description('check, explain, compare and try Cedar policies')
/** Policy files come after what else a command takes; the worker's own unless given. */
const withApp = (command: Command): Command =>
  command.option('--app <module>', 'module that exports your agents, tools and plans (MUSTER_APP)').option(...flag)
const appOf = (config: Config, app: string | undefined): Config => ({ ...config, MUSTER_APP: app ?? config.MUSTER_APP })

withApp(policy.command('check [files...]'))
  .description('check policies against the app (MUSTER_POLICY unless given); exits 1 with the place of each mistake')
  .action((files: string[], { app, json }: { app?: string } & Json) =>
    action(async (config) => {
      const { checkPoliciesCommand } = await import('./policy-command.ts')
      return checkPoliciesCommand(appOf(config, app), files, json)
    }, json),
  )

withApp(policy.command('explain [what...]'))
  .description(
    'say which policies decided a step, and what would allow it: <run> [step], or --request <file> [files...]',
  )
  .option('--request <file>', 'a question as JSON, asked of the policies of files in place of a run')
  .action((what: string[], { app, request, json }: { app?: string; request?: string } & Json) =>
    action(async (config) => {
      const { explainRequestCommand, explainRunCommand } = await import('./policy-explain-command.ts')
      if (request !== undefined) return explainRequestCommand(appOf(config, app), request, what, json)
      const [run, step] = what
      if (run === undefined) throw new MusterError('request.invalid', 'name a run, or give --request')
      return explainRunCommand(client(config), run, step, json)
    }, json),
  )

policy
  .command('diff <old> <new>')
  .description('show policies that were added, removed or changed: files, folders, or hashes of published sets')
  .option(...flag)
  .action((old: string, now: string, { json }: Json) =>
    action(async (config) => {
      const { diffPoliciesCommand } = await import('./policy-diff-command.ts')
      return diffPoliciesCommand(() => client(config), old, now, json)
    }, json),
  )

withApp(policy.command('dry-run [files...]'))
  .description('show which recorded decisions these policies would make otherwise')
  .option('--runs <n>', 'of the newest runs, how many', positive, 20)
  .option('--run <id>', 'of this run; can be given several times', (id: string, all: string[]) => [...all, id], [])
  .action((files: string[], { app, ...options }: { app?: string; runs: number; run: string[] } & Json) =>
    action(async (config) => {
      const { dryRunCommand } = await import('./policy-dry-run-command.ts')
      return dryRunCommand(client(config), appOf(config, app), files, options)
    }, options.json),
  )

withApp(policy.command('test <cases> [files...]'))
  .description('try the cases of a JSON file; exits 1 when one is not decided as it says')
  .action((cases: string, files: string[], { app, json }: { app?: string } & Json) =>
    action(async (config) => {
      const { testPoliciesCommand } = await import('./policy-test-command.ts')
      return testPoliciesCommand(appOf(config, app), cases, files, json)
    }, json),
  )

program
  .command('codex [args...]')
  .description('set Codex up to speak through the gateway; with arguments, run it so and change no file')
  .usage(
    '[options]\n       muster codex [--model <route>] exec "<task>"\n       muster codex [--model <route>] -- [arguments of codex]',
  )
  .option('--model <route>', 'a route of the gateway; `default`, or the only one, unless given')
  .option('--functions-only', 'offer the model functions alone: for targets that do not speak OpenAI Responses', false)
  .option('--print', 'show what would be written, and write nothing', false)
  .option('--remove', 'take it out again', false)
  .option(...flag)
  .passThroughOptions()
  .action((args: string[], flags: CodexFlags) =>
    action(async (config) => {
      const { codexRunCommand, codexSetupCommand } = await import('./codex-command.ts')
      const isRun = args.length > 0 || process.argv.at(-1) === '--'
      return isRun ? codexRunCommand(config, args, flags) : codexSetupCommand(config, flags)
    }, flags.json),
  )

program
  .command('config')
  .description('print every setting, its value and what it is for')
  .option(...flag)
  .action(({ json }: Json) =>
    action(async (config) => {
      const rows = describeConfig(config, process.env)
      if (json) {
        print(rows)
        return
      }
      const table = tableOf(['variable', 'value', 'what it is for'])
      for (const row of rows)
        table.push([row.name, row.set ? pc.bold(row.value ?? '') : (row.value ?? pc.dim('not set')), row.about])
      console.log(table.toString())
    }, json),
  )

function positive(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > 200) throw new InvalidArgumentError('a number from 1 to 200')
  return value
}

function workersTable(workers: readonly WorkerInfo[]): string {
  const table = tableOf(['worker', 'since', 'runs', 'lost', 'carries'])
  for (const { name, startedAt, held, fenced, concurrency, definitions } of workers)
    table.push([plain(name), dateOf(startedAt), `${held}/${concurrency}`, fenced, definitions.map(plain).join('\n')])
  return table.toString()
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

await program.parseAsync()
