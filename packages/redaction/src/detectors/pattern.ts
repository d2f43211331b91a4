import { MusterError } from '@muster/protocol'
import { RE2JS } from 're2js'
import type { Detector } from '../span.ts'

/**
 * A user's own pattern. RE2 takes time linear in the text whatever the pattern is, so that none can hold up a worker.
 *
 * @throws MusterError `config.invalid` at `path`
 */
export function pattern(kind: string, source: string, path: string): Detector {
  const wrong = (message: string, cause?: unknown) =>
    new MusterError('config.invalid', `MUSTER_REDACT: ${path} ${message}`, { issues: [{ path, message }], cause })
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(source)
  } catch (cause) {
    throw wrong(`is no pattern for RE2: ${cause instanceof Error ? cause.message : cause}`, cause)
  }
  if (compiled.matcher('').matches()) throw wrong('matches nothing at all, so it would match everywhere')
  return {
    kind,
    *find(text) {
      const matcher = compiled.matcher(text)
      while (matcher.find()) if (matcher.end() > matcher.start()) yield { start: matcher.start(), end: matcher.end() }
    },
  }
}
