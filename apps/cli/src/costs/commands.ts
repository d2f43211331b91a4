import type { Command } from 'commander'
import { action, flag, type Json } from '../command.ts'
import { client } from '../connection.ts'
import { plain, print } from '../output.ts'

export function addCosts(program: Command): void {
  program.commandsGroup('Money:')

  program
    .command('budgets')
    .description('show what may be used in this day and month, and what was')
    .option(...flag)
    .action(({ json }: Json) =>
      action(async (config) => {
        const { budgetsCommand } = await import('./budgets-command.ts')
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
    .description('show what model calls cost, in this month or another; for operators and auditors')
    .option('--by <what>', 'model, provider, agent, user, team or key', 'model')
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
    .description('make the totals anew from the journals of all runs, where Redis has lost them; for operators')
    .option(...flag)
    .action(({ json }: Json) =>
      action(async (config) => {
        const { rebuildCostsCommand } = await import('./costs-command.ts')
        return rebuildCostsCommand(client(config), json)
      }, json),
    )

  program
    .command('commitments')
    .description(
      'show how far amounts promised to providers are drawn down, and where that leads; for operators and auditors',
    )
    .option(...flag)
    .action(({ json }: Json) =>
      action(async (config) => {
        const { commitmentsCommand } = await import('./costs-command.ts')
        return commitmentsCommand(client(config), json)
      }, json),
    )

  program
    .command('limits')
    .description('show how much at once and per minute was set for users, teams and keys')
    .option(...flag)
    .action(({ json }: Json) =>
      action(async (config) => {
        const { limitsCommand } = await import('./limits-command.ts')
        return limitsCommand(client(config), json)
      }, json),
    )
  const limit = program.command('limit').description('limit how fast a user, a team, a key or the tenant may go')
  limit
    .command('set <name> <limit>')
    .description(
      'of user:, team: or key: and a name, or * for every other one, or of `tenant`: a file, - for standard input, or JSON itself, as {"requestsPerMinute":60,"concurrency":4}',
    )
    .option(...flag)
    .action((name: string, value: string, { json }: Json) =>
      action(async (config) => {
        const { readJson } = await import('../read-json.ts')
        const { setLimitCommand } = await import('./limits-command.ts')
        return setLimitCommand(client(config), name, await readJson(value, 'the limit'), json)
      }, json),
    )
  limit
    .command('remove <name>')
    .description('take back what was set: what the deployment has holds again')
    .option(...flag)
    .action((name: string, { json }: Json) =>
      action(async (config) => {
        await client(config).limits.remove(name)
        if (json) print({ name })
        else console.log(`removed the limit of ${plain(name)}`)
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
        const { readJson } = await import('../read-json.ts')
        const { setBudgetCommand } = await import('./budgets-command.ts')
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
}
