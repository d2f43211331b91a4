import { Command, Help } from 'commander'
import { addAudit } from './audit/commands.ts'
import { addCodex } from './codex/commands.ts'
import { addCosts } from './costs/commands.ts'
import { addErasure } from './erasure/commands.ts'
import { addKeys } from './keys/commands.ts'
import { addLedger } from './ledger/commands.ts'
import { addOperate } from './operate/commands.ts'
import { addPolicy } from './policy/commands.ts'
import { addRuns } from './runs/commands.ts'
import { addServe } from './serve/commands.ts'
import { VERSION } from './version.ts'

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

for (const add of [
  addServe,
  addRuns,
  addOperate,
  addKeys,
  addCosts,
  addPolicy,
  addLedger,
  addAudit,
  addErasure,
  addCodex,
])
  add(program)

await program.parseAsync()
