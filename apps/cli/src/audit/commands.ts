import { recordAction } from '@muster/protocol'
import { type Command, Option } from 'commander'
import { action, flag, type Json, keyOption, positive, several } from '../command.ts'
import { client } from '../connection.ts'
import type { ExportFlags, VerifyFlags } from './audit-command.ts'
import type { EventFormat } from './audit-events-command.ts'
import type { RecordsOptions } from './audit-records-command.ts'
import type { SearchOptions } from './audit-search-command.ts'

export function addAudit(program: Command): void {
  program.commandsGroup('Audit:')

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
    .option('--key <vkey>', 'a key of a witness, to lie in it; several may be given', several, [])
    .option('--older <checkpoint>', 'a file; with --run, it can then be checked against it', several, [])
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
    .option('--key <vkey>', "a key that you trust, in place of the export's own; several may be given", several, [])
    .option('--exporter-key <vkey>', 'a key that must have signed the manifest; several may be given', several, [])
    .option('--older <checkpoint>', 'a file that you kept: the ledger must begin with it', several, [])
    .option('--receipt <file>', 'a receipt that you kept (muster receipt --out)', several, [])
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
    .option('--run <id>', 'of this run; can be given several times; of all unless given', several, [] as string[])
    .option('--since <time>', 'written from then on: 2026-11-28T09:00:00Z, or 7d, 12h, 30m ago')
    .option('--until <time>', 'written before then')
    .option('--content', 'with inputs and outputs, which are left out unless given', false)
    .option('--json', 'as --format jsonl')
    .action(
      ({
        json,
        format,
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
          const { withTimes } = await import('../read-time.ts')
          return auditEventsCommand(client(config), { ...withTimes(options), format: json ? 'jsonl' : format })
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
    .description(
      'what was done besides runs: reads of content, policies and keys used, stops, budgets, limits, API keys; newest first',
    )
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
}
