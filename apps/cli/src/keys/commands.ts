import type { Command } from 'commander'
import { action, flag, type Json, several } from '../command.ts'
import { client } from '../connection.ts'
import type { CreateKeyFlags, RightsFlags } from './key-command.ts'
import type { NewKeyFlags } from './key-new-command.ts'

export function addKeys(program: Command): void {
  program.commandsGroup('Access:')

  const key = program
    .command('key')
    .description('API keys: make, list, change, rotate and revoke them while servers run')
  const withRights = (command: Command): Command =>
    command
      .option('--team <team>', 'of those who share a budget')
      .option('--routes <routes>', "routes of the gateway, 'gpt-5*,local'; all unless given", several)
      .option('--labels <labels>', 'labels of all that it asks, separated by commas', several)
      .option('--note <text>', 'what it is for')
  withRights(
    key
      .command('create [key]')
      .description('make a key for a person or a service; its secret is shown once')
      .requiredOption('--user <user>', 'whose it is'),
  )
    .option('--service', 'it belongs to a service or an agent, which may not approve', false)
    .option('--role <role>', 'operator, auditor, eraser, admin, or one for approvals; may be repeated', several, [])
    .option('--expires <time>', '2030-01-31T09:00:00Z, or in 90d, 12h')
    .option('--budget <budget>', 'as {"day":{"usd":5}}: a file, - for standard input, or JSON itself')
    .option('--limit <limit>', 'how fast it may call models, as {"requestsPerMinute":60}: as --budget')
    .option(...flag)
    .action((id: string | undefined, options: CreateKeyFlags) =>
      action(async (config) => {
        const { createKeyCommand } = await import('./key-command.ts')
        return createKeyCommand(client(config), id, options)
      }, options.json),
    )
  key
    .command('list')
    .description('keys of the tenant: whose, what they may, until when, and when they were used last')
    .option('--all', 'also those that were revoked', false)
    .option(...flag)
    .action((options: { all: boolean } & Json) =>
      action(async (config) => {
        const { listKeysCommand } = await import('./key-command.ts')
        return listKeysCommand(client(config), options)
      }, options.json),
    )
  key
    .command('show <key>')
    .description('all that is known of a key, but its secret')
    .option(...flag)
    .action((id: string, { json }: Json) =>
      action(async (config) => {
        const { showKeyCommand } = await import('./key-command.ts')
        return showKeyCommand(client(config), id, json)
      }, json),
    )
  withRights(key.command('change <key>').description('what is given takes the place of what it had; "" is none'))
    .option('--role <role>', 'its roles; may be repeated, "" for none', several)
    .option('--expires <time>', '2030-01-31T09:00:00Z, in 90d, or never')
    .option(...flag)
    .action((id: string, options: Partial<RightsFlags> & Json) =>
      action(async (config) => {
        const { changeKeyCommand } = await import('./key-command.ts')
        return changeKeyCommand(client(config), id, options)
      }, options.json),
    )
  key
    .command('rotate <key>')
    .description('give it a new secret, shown once; the one before holds for a time')
    .option('--grace <time>', 'how long: 1h, 7d, or 0 to end it at once; a day unless given')
    .option('--expires <time>', 'when the key expires from now on: 2030-01-31T09:00:00Z, in 90d, or never')
    .option(...flag)
    .action((id: string, options: { grace?: string; expires?: string } & Json) =>
      action(async (config) => {
        const { rotateKeyCommand } = await import('./key-command.ts')
        return rotateKeyCommand(client(config), id, options)
      }, options.json),
    )
  key
    .command('revoke <key>')
    .description('refuse it everywhere within a second, for ever')
    .option(...flag)
    .action((id: string, { json }: Json) =>
      action(async (config) => {
        const { revokeKeyCommand } = await import('./key-command.ts')
        return revokeKeyCommand(client(config), id, json)
      }, json),
    )
  key
    .command('new <key>')
    .description('add a key to a keys file (MUSTER_KEYS_FILE), with no server: the first one comes so')
    .requiredOption('--file <file>', 'the keys file; it need not be there')
    .requiredOption('--tenant <tenant>', 'whose keys it may make')
    .requiredOption('--user <user>', 'whose it is')
    .option('--role <role>', 'may be repeated; every role unless given', several, [])
    .option('--expires <time>', '2030-01-31T09:00:00Z, or in 90d')
    .option(...flag)
    .action((id: string, options: NewKeyFlags) =>
      action(async () => {
        const { newKeyCommand } = await import('./key-new-command.ts')
        return newKeyCommand(id, options)
      }, options.json),
    )
}
