import type { RedactRules } from '@muster/protocol'
import { creditCard } from './detectors/credit-card.ts'
import { email } from './detectors/email.ts'
import { iban } from './detectors/iban.ts'
import { ipAddress } from './detectors/ip-address.ts'
import { pattern } from './detectors/pattern.ts'
import { phone } from './detectors/phone.ts'
import { secret } from './detectors/secret.ts'
import { usSsn } from './detectors/us-ssn.ts'
import type { Detector } from './span.ts'

/**
 * What is looked for, by rules, the more certain first.
 *
 * @throws MusterError `config.invalid`
 */
export function detectorsOf({ kinds, patterns, countries }: RedactRules): Detector[] {
  const own = patterns.map(({ kind, pattern: source }, i) => pattern(kind, source, `/patterns/${i}/pattern`))
  const all = [...own, secret, iban, creditCard, usSsn, email, ipAddress, phone(countries)]
  return all.filter(({ kind }) => kinds[kind] !== 'keep')
}
