import { type Json, MusterError, type RedactAction, type RedactCounts, type RedactRules } from '@muster/protocol'
import { isSecretName } from './detectors/secret.ts'
import { detectorsOf } from './detectors.ts'
import { isJsonText, mapLiterals, mapTexts, NESTED_MAX } from './json-text.ts'
import { SHORT, search, type Wanted } from './search.ts'
import { type Effort, effort, spend } from './span.ts'
import { TOKEN_BODY, TOKEN_VALUE_MAX, Tokens } from './token.ts'

export interface Redacted {
  value: Json
  /** How often each kind was found; undefined for nothing. */
  found: RedactCounts | undefined
}

/** Takes personal data and secrets out of what one tenant stores and sends, and restores what may be. */
export interface Redactor {
  /**
   * The value with everything that is found masked or as a token, in texts and names of fields. What it has given stays as
   * it is when it is given again.
   *
   * @throws MusterError `redaction.too_large`
   */
  redact(value: Json): Redacted
  /**
   * The value with tokens of these kinds as what they were made of.
   *
   * @throws MusterError `redaction.invalid_token` for one that was changed, or is another tenant's
   */
  restore(value: Json, kinds: readonly string[]): Json
}

/** Rules made ready, for all tenants. */
export interface Redaction {
  /** The same for the same tenant. */
  of(tenant: string): Redactor
}

const TENANTS_MAX = 1000
/** Of names that are remembered. */
const NAMES_MAX = 10_000
const NAME_MAX = 64

/** @throws MusterError `config.invalid` where a pattern is none, or tokens have no secret */
export function createRedaction(rules: RedactRules, secret?: string): Redaction {
  const shared = prepare(rules, secret)
  const tenants = new Map<string, Redactor>()
  return {
    of(tenant) {
      let redactor = tenants.get(tenant)
      if (!redactor) {
        redactor = new TextRedactor(shared, secret === undefined ? undefined : new Tokens(secret, tenant))
        if (tenants.size >= TENANTS_MAX) tenants.clear()
        tenants.set(tenant, redactor)
      }
      return redactor
    },
  }
}

/**
 * One tenant's.
 *
 * @throws MusterError `config.invalid`
 */
export function createRedactor(rules: RedactRules, key?: { secret: string; tenant: string }): Redactor {
  return new TextRedactor(prepare(rules, key?.secret), key && new Tokens(key.secret, key.tenant))
}

interface Prepared extends Wanted {
  actions: ReadonlyMap<string, RedactAction>
  /** Masks and what looks like a token. */
  done: RegExp
  /** Names of fields in which nothing was found. */
  plainNames: Set<string>
}

function prepare(rules: RedactRules, secret: string | undefined): Prepared {
  const detectors = detectorsOf(rules)
  const kinds = [...new Set(detectors.map(({ kind }) => kind))]
  const actions = new Map(kinds.map((kind) => [kind, rules.kinds[kind] ?? 'mask']))
  for (const kind of Object.keys(rules.kinds))
    if (!actions.has(kind) && rules.kinds[kind] !== 'keep')
      throw wrong(`/kinds/${kind}`, 'is no kind that is looked for; give it a pattern')
  const tokens = kinds.filter((kind) => actions.get(kind) === 'token')
  if (tokens.length > 0 && secret === undefined)
    throw wrong(`/kinds/${tokens[0]}`, '"token" needs MUSTER_REDACT_SECRET')
  const ordered = [...kinds.filter((kind) => actions.get(kind) === 'mask'), ...tokens]
  const order = new Map(ordered.map((kind, i) => [kind, i]))
  // Kinds that are not looked for now may have been before.
  const names = '[a-z][a-z0-9-]{0,31}'
  return {
    detectors,
    actions,
    order,
    plainNames: new Set(),
    done: new RegExp(`\\[(?:${kinds.join('|')})\\]|\\[(${names}):(${TOKEN_BODY})\\]`, 'g'),
  }
}

function wrong(path: string, message: string): MusterError {
  return new MusterError('config.invalid', `MUSTER_REDACT: ${path} ${message}`, { issues: [{ path, message }] })
}

/** One walk through a value. */
interface Walk {
  counts: RedactCounts
  any: boolean
  effort: Effort
}

class TextRedactor implements Redactor {
  readonly #prepared: Prepared
  readonly #tokens: Tokens | undefined

  constructor(prepared: Prepared, tokens: Tokens | undefined) {
    this.#prepared = prepared
    this.#tokens = tokens
  }

  redact(value: Json): Redacted {
    const walk: Walk = { counts: {}, effort: effort(), any: false }
    const redacted = mapTexts(
      value,
      (text, key) => this.#text(text, key, walk, 0),
      (name) => this.#name(name, walk),
    )
    return { value: redacted, found: walk.any ? walk.counts : undefined }
  }

  restore(value: Json, kinds: readonly string[]): Json {
    const change = (text: string): string => this.#restored(text, kinds, 0)
    return mapTexts(value, change, change)
  }

  /** Names of fields come again and again. */
  #name(name: string, walk: Walk): string {
    const { plainNames } = this.#prepared
    if (plainNames.has(name)) return name
    const changed = this.#text(name, undefined, walk, 0)
    if (changed === name && name.length <= NAME_MAX && !name.includes('[')) {
      if (plainNames.size >= NAMES_MAX) plainNames.clear()
      plainNames.add(name)
    }
    return changed
  }

  #text(text: string, key: string | undefined, walk: Walk, depth: number): string {
    if (text.length < SHORT) return text
    if (depth < NESTED_MAX && isJsonText(text))
      return mapLiterals(text, (literal) => this.#text(literal.text, literal.key, walk, depth + 1))
    if (key !== undefined && isSecretName(key) && this.#prepared.actions.has('secret') && !this.#isDone(text))
      return this.#replaced('secret', text, walk)
    let result = ''
    let from = 0
    for (const { start, end } of this.#done(text)) {
      result += this.#piece(text.slice(from, start), walk) + text.slice(start, end)
      from = end
    }
    return result + this.#piece(text.slice(from), walk)
  }

  /** What has been redacted before: masks, and tokens that this tenant's key has made. Others could hide what they like. */
  *#done(text: string): Generator<{ start: number; end: number }> {
    if (!text.includes('[')) return
    for (const { index: start, 0: found, 1: kind, 2: body } of text.matchAll(this.#prepared.done)) {
      if (kind !== undefined && body !== undefined && this.#tokens?.open(kind, body) === undefined) continue
      yield { start, end: start + found.length }
    }
  }

  #isDone(text: string): boolean {
    let from = 0
    for (const { start, end } of this.#done(text)) {
      if (start !== from) return false
      from = end
    }
    return from === text.length
  }

  #piece(text: string, walk: Walk): string {
    if (text.length < SHORT) return text
    spend(walk.effort, 'characters', text.length)
    let result = ''
    let from = 0
    for (const { kind, start, end } of search(text, this.#prepared, walk.effort)) {
      result += text.slice(from, start) + this.#replaced(kind, text.slice(start, end), walk)
      from = end
    }
    return result + text.slice(from)
  }

  #replaced(kind: string, value: string, walk: Walk): string {
    walk.any = true
    walk.counts[kind] = (walk.counts[kind] ?? 0) + 1
    const isToken = this.#prepared.actions.get(kind) === 'token' && value.length <= TOKEN_VALUE_MAX
    return isToken && this.#tokens && value.isWellFormed() ? this.#tokens.seal(kind, value) : `[${kind}]`
  }

  #restored(text: string, kinds: readonly string[], depth: number): string {
    if (!text.includes('[')) return text
    if (depth < NESTED_MAX && isJsonText(text))
      return mapLiterals(text, (literal) => this.#restored(literal.text, kinds, depth + 1))
    return text.replace(this.#prepared.done, (found, kind?: string, body?: string) => {
      if (kind === undefined || body === undefined || !kinds.includes(kind)) return found
      const value = this.#tokens?.open(kind, body)
      if (value === undefined)
        throw new MusterError(
          'redaction.invalid_token',
          `a token of kind "${kind}" is not as it was made for this tenant`,
        )
      return value
    })
  }
}
