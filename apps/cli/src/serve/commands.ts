import { describeConfig, readConfig } from '@muster/protocol'
import type { Command } from 'commander'
import pc from 'picocolors'
import { action, appOption, flag, type Json, withApp } from '../command.ts'
import { print, tableOf } from '../output.ts'

export function addServe(program: Command): void {
  program.commandsGroup('Start:')

  program
    .command('dev')
    .description('start everything on this machine; without --app, the demo')
    .option(...appOption)
    .option('--policy <path>', 'Cedar policy files or folders; the default set unless given (MUSTER_POLICY)')
    .action((options: { app?: string; policy?: string }) =>
      action(async (config) => {
        const { devCommand } = await import('./dev-command.ts')
        await devCommand({
          ...withApp(config, options.app),
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
    .option(...appOption)
    .action(async (options: { app?: string }) => {
      const { serve, workerCommand } = await import('./service-command.ts')
      await serve(async (signal) => workerCommand(withApp(readConfig(process.env), options.app), signal))
    })

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
}
