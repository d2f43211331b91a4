import type { Json } from '@muster/protocol'

/**
 * Whether a call sends data where none is known to go: any text in the fields that say where that no
 * pattern fits. What is no text is not known either. A field that is absent sends nothing.
 */
export function hasNewDestination(sends: readonly string[], input: Json, patterns: readonly string[]): boolean {
  if (input === null || typeof input !== 'object' || Array.isArray(input)) return sends.length > 0
  return sends.some((field) => {
    const value = Object.hasOwn(input, field) ? input[field] : undefined
    if (value == null) return false
    return (Array.isArray(value) ? value : [value]).some(
      (item) => typeof item !== 'string' || !patterns.some((pattern) => fits(item, pattern)),
    )
  })
}

/**
 * A pattern is a host, an address or another name; `*` stands for letters, digits, `.`, `_`, `+` and `-`, and for
 * nothing that separates, so that no list of two addresses and no host before another fits.
 * Of an http address the host counts, as the URL standard reads it.
 */
function fits(value: string, pattern: string): boolean {
  let compiled = known.get(pattern)
  if (compiled === undefined) {
    const source = pattern.toLowerCase().split('*').map(RegExp.escape).join('[a-z0-9._+-]+')
    compiled = new RegExp(`^(?:${source})$`)
    known.set(pattern, compiled)
  }
  return compiled.test(nameOf(value))
}

/** Patterns are of tools and of configuration: as many as these have. */
const known = new Map<string, RegExp>()

function nameOf(value: string): string {
  if (!/^https?:/i.test(value)) return value.toLowerCase()
  // What is no address fits nothing.
  return URL.canParse(value) ? new URL(value).host : ''
}
