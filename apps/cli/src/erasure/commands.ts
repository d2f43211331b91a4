import { type Command, Option } from 'commander'
import { action, flag, type Json } from '../command.ts'
import { client } from '../connection.ts'
import type { EraseOptions } from './erasure-command.ts'

export function addErasure(program: Command): void {
  program.commandsGroup('Content:')

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
        ...of
      }: Json & { subject?: string; run?: string; name?: string; since?: string; until?: string; reason: string }) =>
        action(async (config) => {
          const { placeHoldCommand } = await import('./erasure-command.ts')
          const { withTimes } = await import('../read-time.ts')
          return placeHoldCommand(client(config), withTimes(of), json)
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
}
