import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, MusterError } from '@muster/protocol'
import { createMuster, type Muster } from '@muster/sdk'
import { patientFetch } from './patient-fetch.ts'

/** File in MUSTER_HOME with the local API key, readable by its owner alone. */
export const DEV_KEY = 'dev-key'

/** Where the CLI finds the server, and the key that it sends. */
export function connection(config: Config): { url: string; key: string } {
  const url = config.MUSTER_URL ?? `http://${config.MUSTER_HOST}:${config.MUSTER_PORT}`
  if (config.MUSTER_KEY !== undefined) return { url, key: config.MUSTER_KEY }
  try {
    return { url, key: readFileSync(join(config.MUSTER_HOME, DEV_KEY), 'utf8').trim() }
  } catch (cause) {
    throw new MusterError(
      'auth.missing_key',
      `there is no key in ${join(config.MUSTER_HOME, DEV_KEY)} and MUSTER_KEY is not set`,
      { cause },
    )
  }
}

export function client(config: Config): Muster {
  const to = connection(config)
  // A program that reads JSON finds nothing but that on standard error.
  return createMuster(process.argv.includes('--json') ? to : { ...to, fetch: patientFetch(to.url) })
}
