import type { Config } from '@muster/protocol'
import type { Redaction } from '@muster/redaction'

/** Redaction as it is configured. Its detectors are loaded only for those who want them. @throws MusterError `config.invalid` */
export async function readRedaction({
  MUSTER_REDACT: rules,
  MUSTER_REDACT_SECRET: secret,
}: Config): Promise<Redaction | undefined> {
  if (rules === undefined) return undefined
  const { openRedaction } = await import('@muster/redaction')
  return openRedaction(rules, secret)
}
