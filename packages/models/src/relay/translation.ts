import { randomUUID } from 'node:crypto'
import { type ExactNumber, type Issue, type Json, MusterError } from '@muster/protocol'
import type { ModelReply, ModelRequest, ModelSettings, Part } from '../message.ts'
import { joined, type Media, whyNot } from '../parts.ts'
import { isObject, type JsonObject, objectOf } from './json.ts'

/** One dialect, as clients speak it, in the words that every provider is asked in. */
export interface Translation {
  read(body: JsonObject, unsaid: Unsaid): ModelRequest
  /** Where the body has what was said before. */
  said: string
  /** Where the body has each setting. */
  paths: Record<keyof ModelSettings, string>
  teller(options: TellerOptions): Teller
}

export interface TellerOptions {
  body: JsonObject
  model: string
  responseId: string | undefined
  kept: JsonObject | undefined
}

export type Said = Pick<ModelReply, 'text' | 'toolCalls' | 'reasoning' | 'usage' | 'cut'>

/** Tells an answer in a dialect, as a stream or whole: both come to the same. */
export interface Teller {
  begins(): string
  delta(text: string): string
  /** All but the text, which was told piece by piece. */
  ends(said: Said): string
  whole(said: Said): JsonObject
  broken(message: string): string
}

/** How a dialect tells what a message holds. */
interface Telling {
  /** Types of texts. */
  types: readonly string[]
  /** Reads an image or a file; undefined for anything else. */
  partOf: (part: JsonObject) => Part | undefined
  isResult?: boolean
  /** Between texts, where they are not pieces of one; none unless given. */
  between?: string
}

/** What of a body cannot be said in other words, and where it stands. */
export class Unsaid {
  readonly issues: Issue[] = []
  readonly #media: Media
  /** Marks for caches can be said, and blocks stay as they are: what is joined would be another prompt where a mark has gone. */
  readonly hasMarks: boolean

  constructor(media: Media, hasMarks = false) {
    this.#media = media
    this.hasMarks = hasMarks
  }

  refuse(path: string, message: string): void {
    this.issues.push({ path, message })
  }

  /** Refuses whatever else says something: nothing is left out in silence. */
  only(of: JsonObject, path: string, names: ReadonlySet<string>): void {
    for (const [name, value] of Object.entries(of))
      if (!names.has(name) && saysSomething(value))
        this.refuse(`${path}/${pointer(name)}`, 'cannot be said to this target')
  }

  number(of: JsonObject, name: string, path = ''): number | ExactNumber | undefined {
    const value = of[name]
    if (value === undefined || value === null) return undefined
    if (typeof value === 'number' || JSON.isRawJSON(value)) return value
    this.refuse(`${path}/${name}`, 'must be a number')
    return undefined
  }

  list(value: Json | undefined, path: string): Json[] {
    if (value === undefined || value === null) return []
    if (Array.isArray(value)) return value
    this.refuse(path, 'must be a list')
    return []
  }

  /** The text of parts that are of these types; of others nobody knows how to tell. */
  text(content: Json | undefined, path: string, types: readonly string[], between = ''): string {
    if (typeof content === 'string') return content
    return this.list(content, path)
      .map((part, at) => {
        if (isObject(part) && types.includes(String(part.type)) && typeof part.text === 'string') return part.text
        this.refuse(`${path}/${at}`, `only text can be said to this target`)
        return ''
      })
      .join(between)
  }

  /** The same with images and files, as the target takes them. */
  content(content: Json | undefined, path: string, how: Telling): string | Part[] {
    if (typeof content === 'string') return content
    const parts = this.list(content, path).map((one, at) => this.part(one, `${path}/${at}`, how))
    return joined(parts, how.between)
  }

  part(one: Json, path: string, { types, partOf, isResult = false }: Telling): Part {
    const given = objectOf(one)
    if (types.includes(String(given.type)) && typeof given.text === 'string') return { type: 'text', text: given.text }
    const part = partOf(given)
    const why = part ? whyNot(part, this.#media, isResult) : 'cannot be said to this target'
    if (why !== undefined) this.refuse(path, why)
    return part ?? { type: 'text', text: '' }
  }

  /** @throws MusterError `model.unsupported` */
  check(model: string): void {
    if (this.issues.length === 0) return
    const places = this.issues.map(({ path, message }) => `${path} ${message}`)
    throw new MusterError('model.unsupported', `${model}: ${places.slice(0, 10).join('; ')}`, { issues: this.issues })
  }
}

function pointer(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1')
}

/** Null, nothing and what is empty say nothing. */
export function saysSomething(value: Json): boolean {
  if (Array.isArray(value)) return value.length > 0
  if (isObject(value)) return Object.keys(value).length > 0
  return Boolean(value)
}

const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh'] as const

export function effortOf(value: Json | undefined, path: string, unsaid: Unsaid): Pick<ModelSettings, 'effort'> {
  if (value === undefined || value === null) return {}
  const effort = EFFORTS.find((one) => one === value)
  if (effort === undefined) unsaid.refuse(path, `must be one of ${EFFORTS.join(', ')}`)
  return effort === undefined ? {} : { effort }
}

/** Settings that were given; what is as it would be anyway is left out, and so is the choice where there is none. */
export function settingsOf(
  { toolChoice, parallelToolCalls, ...given }: { [name in keyof ModelSettings]: ModelSettings[name] | undefined },
  tools: readonly unknown[],
): Pick<ModelRequest, 'settings'> {
  const settings: Record<string, unknown> = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  )
  if (tools.length > 0 && toolChoice !== undefined && toolChoice !== 'auto') settings.toolChoice = toolChoice
  if (tools.length > 0 && parallelToolCalls === false) settings.parallelToolCalls = false
  return Object.keys(settings).length > 0 ? { settings } : {}
}

const SEALED = 'muster.'

/** What a model thought, for a client to keep: nobody else can open it, so that it need not be read either. */
export function sealed(reasoning: NonNullable<ModelReply['reasoning']>): string {
  return SEALED + Buffer.from(JSON.stringify(reasoning)).toString('base64url')
}

/** What `sealed` has made; `undefined` for what another has sealed. */
export function unsealed(text: Json | undefined): ModelReply['reasoning'] {
  if (typeof text !== 'string' || !text.startsWith(SEALED)) return undefined
  try {
    const value: Json = JSON.parse(Buffer.from(text.slice(SEALED.length), 'base64url').toString())
    if (!isObject(value) || typeof value.by !== 'string' || !Array.isArray(value.items)) return undefined
    return value.items.every(isObject) ? { by: value.by, items: value.items } : undefined
  } catch {
    return undefined
  }
}

export function newId(prefix: string): string {
  return prefix + randomUUID().replaceAll('-', '')
}
