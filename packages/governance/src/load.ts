import { hash } from 'node:crypto'
import { type DetailedError, policySetTextToParts, policyToJson, validate } from '@cedar-policy/cedar-wasm/nodejs'
import { type AppManifest, type Issue, MusterError, type PolicySource } from '@muster/protocol'
import { readAsk } from './ask.ts'
import { checkAgainst } from './history-check.ts'
import { parseTerms, type Term } from './history-term.ts'
import { type Policy, PolicySet } from './policy.ts'
import { cedarSchema } from './schema.ts'
import { readsTarget } from './target.ts'

/** Where a place in a source (in UTF-8 bytes, as Cedar counts) is for a reader: file, line and column from 1. */
function place(source: PolicySource, offset: number): string {
  const before = Buffer.from(source.text).subarray(0, offset).toString()
  return `${source.file}:${before.split('\n').length}:${before.length - before.lastIndexOf('\n')}`
}

/**
 * The statements of a policy text that Cedar has parsed, in order, with their offsets in UTF-8 bytes.
 * Cedar gives them too, but without their places and sorted as text: the tenth before the second.
 */
function statements(text: string): { text: string; offset: number }[] {
  const found: { text: string; offset: number }[] = []
  let start = -1
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|\/\/[^\n\r]*|\s+|[^"/\s;]+|./gs)) {
    if (start < 0 && (token.trim() === '' || token.startsWith('//'))) continue
    if (start < 0) start = index
    if (token !== ';') continue
    found.push({ text: text.slice(start, index + 1), offset: Buffer.byteLength(text.slice(0, start)) })
    start = -1
  }
  return found
}

/** The terms that a policy declares; `reject` is told of mistakes and their offsets in it, in bytes. */
function historyOf(
  { text, declared }: { text: string; declared: string | null | undefined },
  app: AppManifest,
  reject: (offset: number, message: string) => void,
): Term[] {
  if (declared == null) return []
  const [opening = '', written = ''] = /^[\s\S]*?@history\s*\(\s*"((?:[^"\\]|\\.)*)/.exec(text) ?? []
  const start = Buffer.byteLength(opening) - Buffer.byteLength(written)
  // What is escaped stands elsewhere than it reads.
  const at = (offset: number) => start + (written === declared ? Buffer.byteLength(declared.slice(0, offset)) : 0)
  const terms = parseTerms(declared, (offset, message) => reject(at(offset), message))
  for (const term of terms) checkAgainst(app, term, (offset, message) => reject(at(offset), message))
  if (declared.trim() === '') reject(start, '@history names terms: @history("paid = sum ledger.pay input.amount")')
  return terms
}

type Report = (source: PolicySource, offset: number, error: DetailedError) => void

/** Tells of each of Cedar's errors by its place. */
function reporter(issues: Issue[]): Report {
  return (source, offset, error) => {
    const help = error.help ? ` (${error.help})` : ''
    issues.push({
      path: place(source, offset + (error.sourceLocations?.[0]?.start ?? 0)),
      message: error.message + help,
    })
  }
}

function throwIssues(issues: Issue[]): void {
  if (issues.length === 0) return
  // Cedar gives them in no order.
  issues.sort((a, b) => a.path.localeCompare(b.path, 'en', { numeric: true }))
  const detail = issues.map((issue) => `${issue.path}: ${issue.message}`).join('\n')
  throw new MusterError('policy.invalid', detail, { issues })
}

interface Parsed {
  policies: Map<string, Policy>
  origins: Map<string, { source: PolicySource; offset: number }>
  /** What each says in `@history`. */
  declared: Declared[]
  /** One of them looks at where a model call goes. */
  ofTarget: boolean
  issues: Issue[]
}

interface Declared {
  text: string
  declared: string | null | undefined
  source: PolicySource
  offset: number
}

/** The terms of all of them; a name that stands twice means the same. */
function termsOf(all: readonly Declared[], app: AppManifest, issues: Issue[]): Term[] {
  const terms = new Map<string, Term>()
  for (const one of all) {
    const { source, offset } = one
    const reject = (at: number, message: string) => issues.push({ path: place(source, offset + at), message })
    for (const term of historyOf(one, app, reject)) {
      if ((terms.get(term.name)?.text ?? term.text) !== term.text)
        reject(0, `another term of history has the name "${term.name}"`)
      terms.set(term.name, term)
    }
  }
  return [...terms.values()]
}

function parse(sources: readonly PolicySource[]): Parsed {
  const issues: Issue[] = []
  const policies = new Map<string, Policy>()
  const origins = new Map<string, { source: PolicySource; offset: number }>()
  const declared: Declared[] = []
  let ofTarget = false
  const report = reporter(issues)
  for (const source of sources) {
    const parts = policySetTextToParts(source.text)
    if (parts.type === 'failure') {
      for (const error of parts.errors) report(source, 0, error)
      continue
    }
    for (const [i, { text, offset }] of statements(source.text).entries()) {
      const parsed = policyToJson(text)
      if (parsed.type === 'failure') {
        for (const error of parsed.errors) report(source, offset, error)
        continue
      }
      const { annotations = {} } = parsed.json
      const id = annotations.id ?? `${source.file}#${i + 1}`
      const reject = (message: string) => issues.push({ path: place(source, offset), message })
      if (policies.has(id)) reject(`another policy has the id "${id}"`)
      if (annotations.ask !== undefined && parsed.json.effect !== 'forbid') reject('@ask belongs to a forbid')
      const { effect } = parsed.json
      const { mode = 'enforced' } = source
      policies.set(id, {
        ...{ ask: readAsk(annotations, reject), text, effect, mode, at: place(source, offset) },
        ...(annotations.message ? { message: annotations.message } : {}),
        ...(annotations.contact ? { contact: annotations.contact } : {}),
      })
      origins.set(id, { source, offset })
      ofTarget ||= readsTarget(parsed.json)
      declared.push({ text, declared: annotations.history, source, offset })
    }
  }
  return { policies, origins, declared, ofTarget, issues }
}

/**
 * Policies by their ids, parsed but checked against no app.
 *
 * @throws MusterError `policy.invalid` with file, line and column of each mistake
 */
export function readPolicyTexts(sources: readonly PolicySource[]): ReadonlyMap<string, Policy> {
  const { policies, issues } = parse(sources)
  throwIssues(issues)
  return policies
}

/**
 * Parses policies, checks them against the schema made from the app's agents and tools, and gives the
 * set. Each policy's id is its `@id` annotation, else its file's name and its number there.
 *
 * @param by cedar-wasm, where the set is to decide by it and not by the compiled policies: to check what those decided
 * @throws MusterError `policy.invalid` with file, line and column of each mistake
 */
export function loadPolicies(
  sources: readonly PolicySource[],
  app: AppManifest,
  { by }: { by?: 'cedar-wasm' } = {},
): PolicySet {
  const { policies, origins, declared, ofTarget, issues } = parse(sources)
  const terms = termsOf(declared, app, issues)
  const { schema, inputTypes } = cedarSchema(app, terms, { ofTarget })
  const texts = Object.fromEntries([...policies].map(([id, { text }]) => [id, text]))
  if (issues.length === 0) {
    const report = reporter(issues)
    const answer = validate({ schema, policies: { staticPolicies: texts } })
    if (answer.type === 'failure') {
      for (const error of answer.errors) issues.push({ path: sources[0]?.file ?? '', message: error.message })
    } else {
      for (const { policyId, error } of answer.validationErrors) {
        const origin = origins.get(policyId)
        if (origin) report(origin.source, origin.offset, error)
        else issues.push({ path: policyId, message: error.message })
      }
    }
  }
  throwIssues(issues)
  const logOnly = [...policies].flatMap(([id, { mode }]) => (mode === 'log-only' ? id : []))
  const hashed = JSON.stringify(logOnly.length === 0 ? [texts, schema] : [texts, schema, logOnly])
  return new PolicySet(hash('sha256', hashed, 'hex'), policies, {
    ...{ schema, inputTypes, sources, app, terms, ofTarget, by },
  })
}
