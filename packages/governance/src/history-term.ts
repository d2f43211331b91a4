/**
 * Terms of `@history("…")`: what a policy wants to know of what happened before. The grammar:
 *
 *     terms     = term *( ";" term )
 *     term      = name "=" operator event [ path ] [ status ] *modifier
 *     operator  = "count" / "sum" / "formerly" / "previous" / "approvers" / "last"
 *     event     = [ "tool" / "model" / "agent" / "approval" ] ( name / "*" )
 *     status    = "ok" / "failed" / "denied" / "begun" / "taken"
 *     modifier  = "with" condition *( "and" condition ) / "within" 1*digit ("s" / "m" / "h" / "d")
 *               / "since" event [ status ] [ "with" … ] / "plus" "input." path / "of" ( "run" / "session" )
 *     condition = path [ ( "=" / "!=" / "<" / "<=" / ">" / ">=" ) ( literal / "input." path ) ]
 */
export type Operator = (typeof OPERATORS)[number]
const OPERATORS = ['count', 'sum', 'formerly', 'previous', 'approvers', 'last'] as const

/**
 * `begun`: allowed and begun, however it ended. `taken`: of those, the ones that are not known to have failed: under way,
 * ended well, cancelled meanwhile, or in doubt.
 */
export type EventStatus = (typeof STATUSES)[number]
const STATUSES = ['ok', 'failed', 'denied', 'begun', 'taken'] as const

type EventKind = (typeof KINDS)[number]
const KINDS = ['tool', 'model', 'agent', 'approval'] as const

/** A place in an event: in its input or its output. `at`: where it stands in the annotation. */
export interface Field {
  from: 'input' | 'output'
  path: readonly string[]
  at: number
}

export type Literal = string | number | boolean

export interface Comparison {
  field: Field
  operator: '=' | '!=' | '<' | '<=' | '>' | '>='
  value: Literal
}

/** The event's field must be what the input of the step that is decided on has there. */
interface Correlation {
  field: Field
  /** In the input of the step that is decided on. */
  path: readonly string[]
}

/** Which events a term is about. */
export interface Pattern {
  kind: EventKind
  /** `*` for all of the kind. */
  target: string
  status: EventStatus
  comparisons: readonly Comparison[]
  /** In the order of what they compare with. */
  correlations: readonly Correlation[]
  at: number
}

export interface Term {
  name: string
  operator: Operator
  event: Pattern
  /** What `sum` adds up. */
  amount: Field | undefined
  /** And what of the input of the step that is decided on, whose decimals Cedar could not add to it. */
  plus: Field | undefined
  /** It adds up integers, and is one. */
  isInteger: boolean
  withinMs: number | undefined
  /** Only what came after the last of these. */
  since: Pattern | undefined
  scope: 'run' | 'session'
  /** Two terms of one text are one term. */
  text: string
  at: number
}

const UNITS_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const WITHIN_MS_MAX = 366 * UNITS_MS.d
const TOKEN =
  /\s*(?:('(?:[^'\n]*)'|"(?:[^"\n]*)")|(-?\d+(?:\.\d+)?(?![\w.]))|(!=|<=|>=|[=<>;*])|([A-Za-z0-9][\w-]*(?:\.[\w-]+)*)|(\S))/gy
const NAME = /^[A-Za-z]\w*$/
/** What the record of all terms has besides them. */
const RESERVED = ['now', 'session']

interface Token {
  type: 'text' | 'number' | 'sign' | 'word' | 'end'
  text: string
  at: number
}

/** A mistake in a term, and where in the annotation it is. */
class Mistake {
  readonly at: number
  readonly message: string

  constructor(at: number, message: string) {
    this.at = at
    this.message = message
  }
}

/** The terms of an annotation; `reject` is told of each mistake and its place, and the term is left out. */
export function parseTerms(source: string, reject: (at: number, message: string) => void): Term[] {
  const tokens = tokensOf(source)
  const terms: Term[] = []
  let from = 0
  for (let i = 0; i <= tokens.length; i++) {
    if (i < tokens.length && tokens[i]?.text !== ';') continue
    const own = tokens.slice(from, i)
    from = i + 1
    // What stands after the last semicolon may be nothing.
    if (own.length === 0 && i === tokens.length && i > 0) continue
    try {
      terms.push(new TermParser(own, tokens[i]?.at ?? source.length).term())
    } catch (mistake) {
      if (!(mistake instanceof Mistake)) throw mistake
      reject(mistake.at, mistake.message)
    }
  }
  return terms
}

function tokensOf(source: string): Token[] {
  const tokens: Token[] = []
  for (const match of source.matchAll(TOKEN)) {
    const [, text, number, sign, word, other = ''] = match
    const token = text ?? number ?? sign ?? word ?? other
    const at = match.index + match[0].length - token.length
    const type = text !== undefined ? 'text' : number !== undefined ? 'number' : word !== undefined ? 'word' : 'sign'
    tokens.push({ type, text: token, at })
  }
  return tokens
}

/** Recursive descent over the tokens of one term. */
class TermParser {
  readonly #tokens: readonly Token[]
  readonly #end: Token
  #next = 0

  constructor(tokens: readonly Token[], end: number) {
    this.#tokens = tokens
    this.#end = { type: 'end', text: '', at: end }
  }

  term(): Term {
    const { at } = this.#peek()
    const name = this.#word('a name')
    if (!NAME.test(name.text) || RESERVED.includes(name.text))
      throw new Mistake(name.at, `"${name.text}" cannot be the name of a term`)
    this.#expect('=')
    const operator = this.#oneOf(OPERATORS)
    const event = this.#event(operator === 'count' || operator === 'sum' ? 'taken' : 'ok', () =>
      operator === 'sum' ? this.#amount() : undefined,
    )
    const term: Term = {
      name: name.text,
      operator,
      ...event,
      plus: undefined,
      isInteger: false,
      withinMs: undefined,
      since: undefined,
      scope: 'run',
      text: this.#tokens.map(({ text }) => text).join(' '),
      at,
    }
    this.#modifiers(term)
    checkTerm(term)
    return term
  }

  #modifiers(term: Term): void {
    const seen = new Set<string>()
    while (this.#peek().type !== 'end') {
      const modifier = this.#oneOf(['with', 'within', 'since', 'plus', 'of'] as const)
      if (seen.has(modifier)) throw new Mistake(this.#tokens[this.#next - 1]?.at ?? 0, `"${modifier}" stands twice`)
      seen.add(modifier)
      if (modifier === 'with') Object.assign(term.event, this.#conditions())
      else if (modifier === 'within') term.withinMs = this.#duration()
      else if (modifier === 'plus') term.plus = this.#amount('input')
      else if (modifier === 'of') term.scope = this.#oneOf(['run', 'session'] as const)
      else {
        term.since = this.#event('ok').event
        if (this.#take('with')) Object.assign(term.since, this.#conditions())
      }
    }
  }

  #event(status: EventStatus, amountOf?: () => Field | undefined): { event: Pattern; amount: Field | undefined } {
    const { at, text } = this.#peek()
    const kind = KINDS.find((one) => one === text)
    // `tool` may be a tool's name too.
    const isKind = kind !== undefined && this.#startsTarget(this.#tokens[this.#next + 1])
    if (isKind) this.#next++
    const target = this.#peek().text === '*' ? this.#advance() : this.#word('a tool, model, agent or approval')
    const amount = amountOf?.()
    const given = STATUSES.find((one) => this.#take(one))
    const event = {
      ...{ kind: isKind ? kind : 'tool', target: target.text, status: given ?? status },
      ...{ comparisons: [], correlations: [], at },
    } as const
    return { event, amount }
  }

  #startsTarget(token: Token | undefined): boolean {
    if (token?.type !== 'word') return token?.text === '*'
    return !WORDS.has(token.text) && !/^(?:in|out)put\./.test(token.text)
  }

  #amount(of: Field['from'] | 'input or output' = 'input or output'): Field {
    const token = this.#word('what to add up, such as input.amount')
    const field = fieldOf(token)
    if (!/^(?:in|out)put\./.test(token.text) || (of === 'input' && field.from !== of))
      throw new Mistake(token.at, `what is added up is a field of ${of}, such as input.amount, not "${token.text}"`)
    return field
  }

  #conditions(): Pick<Pattern, 'comparisons' | 'correlations'> {
    const comparisons: Comparison[] = []
    const correlations: Correlation[] = []
    do {
      const field = fieldOf(this.#word('a field'))
      const operator = (['=', '!=', '<', '<=', '>', '>='] as const).find((one) => this.#take(one))
      const value = operator === undefined ? undefined : this.#advance()
      const literal = value && literalOf(value)
      if (operator === undefined) {
        if (field.from === 'output')
          throw new Mistake(field.at, `${field.path.join('.')} of the output is compared with what? ${SAME}`)
        correlations.push({ field, path: field.path })
      } else if (value && literal !== undefined) comparisons.push({ field, operator, value: literal })
      else if (value?.type === 'word' && value.text.startsWith('input.') && operator === '=')
        correlations.push({ field, path: value.text.split('.').slice(1) })
      else throw new Mistake(value?.at ?? field.at, `a field is compared with a text, number, true or false. ${SAME}`)
    } while (this.#take('and'))
    correlations.sort((a, b) => (a.path.join('.') < b.path.join('.') ? -1 : 1))
    return { comparisons, correlations }
  }

  #duration(): number {
    const token = this.#advance()
    const [, count, unit] = /^([1-9]\d{0,8})([smhd])$/.exec(token.text) ?? []
    const ms = Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS] // one of them by the pattern
    if (!(ms <= WITHIN_MS_MAX))
      throw new Mistake(token.at, 'within takes a time such as 30m, 4h or 2d, of a year at most')
    return ms
  }

  #peek(): Token {
    return this.#tokens[this.#next] ?? this.#end
  }

  #advance(): Token {
    const token = this.#peek()
    this.#next++
    return token
  }

  #take(text: string): boolean {
    const { type, text: found } = this.#peek()
    if (found !== text || type === 'text') return false
    this.#next++
    return true
  }

  #expect(text: string): void {
    const { at } = this.#peek()
    if (!this.#take(text)) throw new Mistake(at, `"${text}" is missing here`)
  }

  #word(what: string): Token {
    const token = this.#advance()
    if (token.type !== 'word') throw new Mistake(token.at, `${what} is missing here`)
    return token
  }

  #oneOf<T extends string>(words: readonly T[]): T {
    const { at, text } = this.#peek()
    const word = words.find((one) => this.#take(one))
    if (word === undefined)
      throw new Mistake(at, `${words.join(', ')} may stand here, not ${text === '' ? 'nothing' : `"${text}"`}`)
    return word
  }
}

const SAME = 'The same as in the step that is decided on is: with payee, or with output.payee = input.payee'
const WORDS: ReadonlySet<string> = new Set([...STATUSES, 'with', 'within', 'since', 'plus', 'of'])

function fieldOf({ text, at }: Token): Field {
  const path = text.split('.')
  const [first] = path
  const from = (first === 'input' || first === 'output') && path.length > 1 ? first : undefined
  return { from: from ?? 'input', path: from ? path.slice(1) : path, at }
}

function literalOf({ type, text }: Token): Literal | undefined {
  if (type === 'text') return text.slice(1, -1)
  if (type === 'number') return Number(text)
  return text === 'true' ? true : text === 'false' ? false : undefined
}

/** What the grammar lets through and has no meaning. */
function checkTerm({ operator, event, since, plus, withinMs, at }: Term): void {
  if (plus && operator !== 'sum') throw new Mistake(plus.at, 'plus belongs to a sum')
  const { status } = event
  if ((operator === 'last' || operator === 'approvers') && (status === 'taken' || status === 'begun'))
    throw new Mistake(event.at, `${operator} is of steps that have ended: ok, failed or denied`)
  if (operator === 'previous' && (status === 'taken' || status === 'begun' || since || withinMs !== undefined))
    throw new Mistake(at, 'previous is of the step that ended last: it takes ok, failed or denied, with and of')
  if (operator === 'previous' && (event.kind === 'model' || event.kind === 'approval'))
    throw new Mistake(event.at, 'previous is of calls of tools and agents')
  if (!since) return
  if (since.status === 'taken')
    throw new Mistake(since.at, 'since takes what has happened: begun, ok, failed or denied')
  const [own, others] = [event, since].map(({ correlations }) => correlations.map(({ path }) => path.join('.')).join())
  if (others !== '' && own !== others)
    throw new Mistake(
      since.at,
      'since compares with the same fields of the step that is decided on as its term, or none',
    )
}
