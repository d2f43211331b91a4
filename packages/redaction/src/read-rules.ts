import { readFileSync } from 'node:fs'
import { type RedactRules, redactRules, settingIn } from '@muster/protocol'
import { createRedaction, type Redaction } from './redactor.ts'

/**
 * As the configuration says: rules, or the path of a file that has them; undefined for none.
 *
 * @throws MusterError `config.invalid`
 */
export function openRedaction(given: RedactRules | string | undefined, secret?: string): Redaction | undefined {
  if (given === undefined) return undefined
  return createRedaction(typeof given === 'string' ? readRules(given) : given, secret)
}

function readRules(path: string): RedactRules {
  return settingIn('MUSTER_REDACT', path, () => readFileSync(path, 'utf8'), redactRules)
}
