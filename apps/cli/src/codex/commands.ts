import type { Command } from 'commander'
import { action, flag } from '../command.ts'
import type { CodexFlags } from './codex-command.ts'

export function addCodex(program: Command): void {
  program.commandsGroup('Coding agents:')

  program
    .command('codex [args...]')
    .description('set Codex up to speak through the gateway; with arguments, run it so and change no file')
    .usage(
      '[options]\n       muster codex [--model <route>] exec "<task>"\n       muster codex [--model <route>] -- [arguments of codex]',
    )
    .option('--model <route>', 'a route of the gateway; `default`, or the only one, unless given')
    .option(
      '--functions-only',
      'offer the model functions alone: for targets that do not speak OpenAI Responses',
      false,
    )
    .option('--print', 'show what would be written, and write nothing', false)
    .option('--remove', 'take it out again', false)
    .option(...flag)
    .passThroughOptions()
    .addHelpText(
      'after',
      `\nA key for each developer, from who has the role "admin":\n  muster key create --user ann --team payments --routes 'gpt-5*' --expires 90d --budget '{"day":{"usd":10}}'`,
    )
    .action((args: string[], flags: CodexFlags) =>
      action(async (config) => {
        const { codexRunCommand, codexSetupCommand } = await import('./codex-command.ts')
        const isRun = args.length > 0 || process.argv.at(-1) === '--'
        return isRun ? codexRunCommand(config, args, flags) : codexSetupCommand(config, flags)
      }, flags.json),
    )
}
