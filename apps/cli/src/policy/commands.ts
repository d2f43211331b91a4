import { MusterError } from '@muster/protocol'
import type { Command } from 'commander'
import { action, appOption, flag, type Json, positive, several, withApp } from '../command.ts'
import { client } from '../connection.ts'

export function addPolicy(program: Command): void {
  program.commandsGroup('Policy:')

  const policy = program.command('policy').description('check, explain, compare and try Cedar policies')
  /** Policy files come after what else a command takes; the worker's own unless given. */
  const takesApp = (command: Command): Command => command.option(...appOption).option(...flag)

  takesApp(policy.command('check [files...]'))
    .description('check policies against the app (MUSTER_POLICY unless given); exits 1 with the place of each mistake')
    .action((files: string[], { app, json }: { app?: string } & Json) =>
      action(async (config) => {
        const { checkPoliciesCommand } = await import('./policy-command.ts')
        return checkPoliciesCommand(withApp(config, app), files, json)
      }, json),
    )

  takesApp(policy.command('explain [what...]'))
    .description(
      'say which policies decided a step, and what would allow it: <run> [step], or --request <file> [files...]',
    )
    .option('--request <file>', 'a question as JSON, asked of the policies of files in place of a run')
    .action((what: string[], { app, request, json }: { app?: string; request?: string } & Json) =>
      action(async (config) => {
        const { explainRequestCommand, explainRunCommand } = await import('./policy-explain-command.ts')
        if (request !== undefined) return explainRequestCommand(withApp(config, app), request, what, json)
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

  takesApp(policy.command('dry-run [files...]'))
    .description('show which recorded decisions these policies would make otherwise')
    .option('--runs <n>', 'of the newest runs, how many', positive, 20)
    .option('--run <id>', 'of this run; can be given several times', several, [])
    .action((files: string[], { app, ...options }: { app?: string; runs: number; run: string[] } & Json) =>
      action(async (config) => {
        const { dryRunCommand } = await import('./policy-dry-run-command.ts')
        return dryRunCommand(client(config), withApp(config, app), files, options)
      }, options.json),
    )

  takesApp(policy.command('test <cases> [files...]'))
    .description('try the cases of a JSON file; exits 1 when one is not decided as it says')
    .action((cases: string, files: string[], { app, json }: { app?: string } & Json) =>
      action(async (config) => {
        const { testPoliciesCommand } = await import('./policy-test-command.ts')
        return testPoliciesCommand(withApp(config, app), cases, files, json)
      }, json),
    )
}
