import { type Config, readConfig } from '@muster/protocol'
import { InvalidArgumentError } from 'commander'
import { fail } from './output.ts'

/** What all commands share. What only some of them need is loaded by them: `muster runs` need not wait for a server's dependencies. */

export interface Json {
  json: boolean
}

export const flag = ['--json', 'print JSON for programs', false] as const

/** Runs an action with the configuration; a failure is told as a person or a program can read it. */
export function action(run: (config: Config) => Promise<number | undefined>, json = false): Promise<void> {
  return (async () => run(readConfig(process.env)))().then(
    (code) => {
      if (typeof code === 'number') process.exitCode = code
    },
    (error) => {
      process.exitCode = fail(error, json)
    },
  )
}

/** Of an option that may be repeated. */
export const several = (value: string, before: readonly string[] = []): string[] => [...before, value]

export function positive(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > 200) throw new InvalidArgumentError('a number from 1 to 200')
  return value
}

export const keyOption = [
  '--key <vkey>',
  'a key of the ledger that you trust, or of a witness; several may be given; without one, those that the server names',
  several,
  [] as string[],
] as const

/** With the app that is given, in place of MUSTER_APP. */
export function withApp(config: Config, app: string | undefined): Config {
  return { ...config, MUSTER_APP: app ?? config.MUSTER_APP }
}

export const appOption = [
  '--app <module>',
  'module that exports your agents, tools and plans, or none (MUSTER_APP)',
] as const
