import { readFileSync } from 'node:fs'
import { MusterError, type RedactRules, redactRules } from '@muster/protocol'
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
  let value: unknown
  try {
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new MusterError('config.invalid', `MUSTER_REDACT: ${path} is no JSON that can be read`, { cause })
  }
  const parsed = redactRules.safeParse(value)
  if (parsed.success) return parsed.data
  const issues = parsed.error.issues.map(({ path, message }) => ({ path: `/${path.map(String).join('/')}`, message }))
  const detail = issues.map((issue) => `${issue.path} ${issue.message}`).join('; ')
  throw new MusterError('config.invalid', `MUSTER_REDACT: ${path}: ${detail}`, { issues })
}
