import { type Command, Option } from 'commander'
import { action, appOption, flag, type Json, withApp } from '../command.ts'
import { client } from '../connection.ts'
import { plain, print } from '../output.ts'
import type { CreateOptions } from './schedule-command.ts'

export function addOperate(program: Command): void {
  program.commandsGroup('Operation:')

  program
    .command('workers')
    .description('list the workers that live and what they carry, and what the background has not done yet')
    .option(...flag)
    .action(({ json }: Json) =>
      action(async (config) => {
        const { workersCommand } = await import('./workers-command.ts')
        return workersCommand(client(config), json)
      }, json),
    )

  program
    .command('stops')
    .description('show what is stopped')
    .option(...flag)
    .action(({ json }: Json) =>
      action(async (config) => {
        const { stopsCommand } = await import('./stops-command.ts')
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
        const { stopCommand } = await import('./stops-command.ts')
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
    .option(
      '--events <types>',
      'only these, separated by commas: run.succeeded, run.failed, run.cancelled, run.waiting',
    )
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
      new Option('--overlap <policy>', 'when the run before has not ended').choices([
        'skip',
        'allow',
        'queue',
        'cancel',
      ]),
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
      .option(...appOption)
      .option(...flag)
      .action(({ app, json }: { app?: string } & Json) =>
        action(async (config) => {
          const { approveToolsCommand, checkToolsCommand } = await import('./tools-command.ts')
          const command = what === 'check' ? checkToolsCommand : approveToolsCommand
          return command(withApp(config, app), json)
        }, json),
      )
  }
}
