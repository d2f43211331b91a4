import type { Command } from 'commander'
import { action, flag, type Json, keyOption } from '../command.ts'
import { client } from '../connection.ts'
import { verifyCommand } from './verify-command.ts'

export function addLedger(program: Command): void {
  program.commandsGroup('Proof:')

  program
    .command('verify <run>')
    .description("check a run's journal: every byte of every entry, and their order")
    .option(...flag)
    .action((id: string, { json }: Json) => action((config) => verifyCommand(client(config), id, json), json))

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
}
