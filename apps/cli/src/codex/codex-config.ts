import { isDeepStrictEqual } from 'node:util'
import { MusterError } from '@muster/protocol'
import { parse, type TomlTable } from 'smol-toml'

/** The variable that Codex takes its key from: the key itself is in no file. */
export const CODEX_KEY = 'MUSTER_API_KEY'

export interface Provider {
  /** Of the gateway, with `/v1`. */
  baseUrl: string
  /** A route of it. */
  model: string
  /** The model is offered functions alone: what is not OpenAI's Responses behind the gateway takes nothing else. */
  functionsOnly?: boolean
}

/** At the end of each line that is ours: Codex writes into the file too, and where it likes. */
const MARK = ' # muster codex'
/** Before a line of the user's that ours stands for until `--remove`. */
const ASIDE = '#muster: '

type Value = TomlTable[string]

/** What Codex's config.toml needs. */
interface Parts {
  /** Before its first table. */
  keys: Record<string, Value>
  /** Fields of tables that the user may have written: such a table is left as it is. */
  fields: { table: string; field: string; value: Value }[]
  provider: Record<string, string>
}

/** What sets Codex up, where its configuration is `config` so far. */
function partsOf({ baseUrl, model, functionsOnly }: Provider, config: TomlTable): Parts {
  const exclude = [...new Set([...excludedBy(config), CODEX_KEY])]
  return {
    // The vendor would search by itself: no policy sees for what, and only OpenAI's own servers can.
    keys: { model_provider: 'muster', model, web_search: 'disabled' },
    fields: [
      // Else what the model runs could read the key.
      { table: 'shell_environment_policy', field: 'exclude', value: exclude },
      ...(functionsOnly ? [{ table: 'agents', field: 'enabled', value: false }] : []),
    ],
    provider: {
      ...{ name: 'Muster', base_url: baseUrl, wire_api: 'responses', env_key: CODEX_KEY },
      env_key_instructions: `Ask whoever runs Muster for a key, then: export ${CODEX_KEY}=<key>`,
    },
  }
}

/** The same as arguments of `codex`, which change no file; what the user excludes stays excluded. */
export function overridesOf(provider: Provider, config: TomlTable): string[] {
  const parts = partsOf(provider, config)
  const values = { ...parts.keys, ...named(parts.fields), 'model_providers.muster': parts.provider }
  return Object.entries(values).flatMap(([key, value]) => ['-c', `${key}=${inline(value)}`])
}

/** Lines that the user has to put into a table of their own. */
export function missingIn(text: string, provider: Provider): string[] {
  const config = readToml(text)
  return partsOf(provider, config).fields.flatMap(({ table, field, value }) => {
    const own = config[table]
    const isThere = isTable(own) && isDeepStrictEqual(own[field], value)
    return isThere ? [] : [`${table}.${field} = ${inline(value)}`]
  })
}

const named = (fields: Parts['fields']): Record<string, Value> =>
  Object.fromEntries(fields.map(({ table, field, value }) => [`${table}.${field}`, value]))

/** Names of variables that commands are not given. */
function excludedBy({ shell_environment_policy: policy }: TomlTable): string[] {
  const exclude = isTable(policy) ? policy.exclude : undefined
  return Array.isArray(exclude) ? exclude.filter((name) => typeof name === 'string') : []
}

/**
 * The file with the provider in marked lines, everything else as it was. Lines of the user's that ours stand for become
 * comments.
 *
 * @throws MusterError `codex.config` where the file is no TOML, or has a provider of that name
 */
export function withProvider(text: string, provider: Provider): string {
  const own = withoutProvider(text)
  const before = readToml(own)
  const others = isTable(before.model_providers) ? before.model_providers : {}
  if ('muster' in others)
    throw new MusterError('codex.config', 'it has a provider muster that is not ours: take that out first')
  const parts = partsOf(provider, before)
  const fields = parts.fields.filter(({ table }) => !(table in before))
  const rest = setAside(own, Object.keys(parts.keys))
  const whole = [
    marked({ ...parts.keys, ...named(fields) }),
    rest === '' || rest.endsWith('\n') ? rest : `${rest}\n`,
    `[model_providers.muster]${MARK}\n${marked(parts.provider)}`,
  ].join('')
  const meant = {
    ...{ ...before, ...parts.keys, model_providers: { ...others, muster: parts.provider } },
    ...Object.fromEntries(fields.map(({ table, field, value }) => [table, { [field]: value }])),
  }
  if (!isDeepStrictEqual(structuredClone(readToml(whole)), structuredClone(meant)))
    throw new MusterError('codex.config', 'it is written in a way that cannot be added to without changing the rest')
  return whole
}

/**
 * The file as it was before, with what Codex and the user wrote into it since.
 *
 * @throws MusterError `codex.config` where that needs a person
 */
export function withoutProvider(text: string): string {
  const own = text
    .split('\n')
    .filter((line) => !isOurs(line))
    .map((line) => (line.startsWith(ASIDE) ? line.slice(ASIDE.length) : line))
    .join('\n')
  if (own !== text) readToml(own)
  return own
}

/** What was put into a file, and what of the user's it stands for. */
export function shownOf(text: string): { written: string[]; aside: string[] } {
  const lines = text.split('\n')
  return {
    written: lines.filter(isOurs).map((line) => line.slice(0, line.lastIndexOf(MARK))),
    aside: lines.filter((line) => line.startsWith(ASIDE)).map((line) => line.slice(ASIDE.length)),
  }
}

const isOurs = (line: string): boolean => line.trimEnd().endsWith(MARK)

/** @throws MusterError `codex.config` */
export function readToml(text: string): TomlTable {
  try {
    return parse(text)
  } catch (cause) {
    const [reason = ''] = cause instanceof Error ? cause.message.split('\n') : []
    throw new MusterError('codex.config', `it is no valid TOML: ${reason}`, { cause })
  }
}

function marked(values: Record<string, Value>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key} = ${inline(value)}${MARK}\n`)
    .join('')
}

/** Makes comments of the lines before the first table that set these keys; a key is named once. */
function setAside(text: string, keys: readonly string[]): string {
  const lines = text.split('\n')
  const table = lines.findIndex((line) => /^\s*\[/.test(line))
  const sets = new RegExp(`^\\s*(${keys.join('|')})\\s*=`)
  return lines.map((line, i) => ((table === -1 || i < table) && sets.test(line) ? ASIDE + line : line)).join('\n')
}

/** A value on one line, as `-c` takes it. */
function inline(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inline).join(', ')}]`
  if (!isTable(value)) return JSON.stringify(value)
  return `{${Object.entries(value)
    .map(([key, value]) => `${key} = ${inline(value)}`)
    .join(', ')}}`
}

const isTable = (value: unknown): value is TomlTable =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
