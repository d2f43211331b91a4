import { isDeepStrictEqual } from 'node:util'
import { MusterError } from '@muster/protocol'
import { parse, stringify, type TomlTable } from 'smol-toml'

/** The variable that Codex takes its key from: the key itself is in no file. */
export const CODEX_KEY = 'MUSTER_API_KEY'

export interface Provider {
  /** Of the gateway, with `/v1`. */
  baseUrl: string
  /** A route of it. */
  model: string
}

const BEGIN = '# >>> muster codex'
const END = '# <<< muster codex'
/** Before a line of the user's that ours stands for until `--remove`. */
const ASIDE = '#muster: '
const block = /^# >>> muster codex\r?\n[\s\S]*?^# <<< muster codex\r?\n?/gm

/** What Codex's config.toml needs: keys that stand before its first table, and tables. */
export interface Parts {
  keys: TomlTable
  tables: TomlTable
}

/** What sets Codex up, where its configuration is `config` so far. */
export function partsOf({ baseUrl, model }: Provider, config: TomlTable): Parts {
  return {
    keys: {
      model_provider: 'muster',
      model,
      // The vendor would search by itself: no policy sees it, and only OpenAI's own servers can.
      web_search: 'disabled',
    },
    tables: {
      model_providers: {
        muster: {
          ...{ name: 'Muster', base_url: baseUrl, wire_api: 'responses', env_key: CODEX_KEY },
          env_key_instructions: `Ask whoever runs Muster for a key, then: export ${CODEX_KEY}=<key>`,
        },
      },
      // Else what the model runs could read the key.
      ...('shell_environment_policy' in config ? {} : { shell_environment_policy: { exclude: [CODEX_KEY] } }),
    },
  }
}

/** The same as arguments of `codex`, which change no file; what the user excludes stays excluded. */
export function overridesOf(provider: Provider, config: TomlTable): string[] {
  const { keys, tables } = partsOf(provider, config)
  const { model_providers } = tables as { model_providers: TomlTable } // as it was made above
  const values = {
    ...keys,
    'model_providers.muster': model_providers.muster,
    'shell_environment_policy.exclude': [...new Set([...excludedBy(config), CODEX_KEY])],
  }
  return Object.entries(values).flatMap(([key, value]) => ['-c', `${key}=${inline(value)}`])
}

/** Names of variables that commands are not given. */
export function excludedBy({ shell_environment_policy: policy }: TomlTable): string[] {
  const exclude = isTable(policy) ? policy.exclude : undefined
  return Array.isArray(exclude) ? exclude.filter((name) => typeof name === 'string') : []
}

/**
 * The file with the provider in two marked blocks, everything else as it was. Lines of the user's that ours stand for
 * become comments.
 *
 * @throws MusterError `codex.config` where the file is no TOML, or has a provider of that name
 */
export function withProvider(text: string, provider: Provider): string {
  const own = withoutProvider(text)
  const before = readToml(own)
  if (isTable(before.model_providers) && 'muster' in before.model_providers)
    throw new MusterError('codex.config', 'it has a provider muster that is not ours: take that out first')
  const { keys, tables } = partsOf(provider, before)
  const after = [blockOf(keys), setAside(own, Object.keys(keys)), blockOf(tables)].filter((part) => part !== '')
  const whole = after.map((part) => (part.endsWith('\n') ? part : `${part}\n`)).join('')
  const providers = { ...(isTable(before.model_providers) ? before.model_providers : {}), ...muster(tables) }
  const meant = { ...before, ...keys, ...tables, model_providers: providers }
  if (!isDeepStrictEqual(structuredClone(readToml(whole)), structuredClone(meant)))
    throw new MusterError('codex.config', 'it is written in a way that cannot be added to without changing the rest')
  return whole
}

/** The file as it was before. */
export function withoutProvider(text: string): string {
  return text.replace(block, '').replaceAll(new RegExp(`^${ASIDE}`, 'gm'), '')
}

/** What was put into a file, and what of the user's it stands for. */
export function shownOf(text: string): { written: string; aside: string[] } {
  const lines = text.split('\n').filter((line) => line.startsWith(ASIDE))
  return { written: (text.match(block) ?? []).join(''), aside: lines.map((line) => line.slice(ASIDE.length)) }
}

/** @throws MusterError `codex.config` */
export function readToml(text: string): TomlTable {
  try {
    return parse(text)
  } catch (cause) {
    const [reason = ''] = cause instanceof Error ? cause.message.split('\n') : []
    throw new MusterError('codex.config', `it is no valid TOML: ${reason}`, { cause })
  }
}

function blockOf(table: TomlTable): string {
  return `${BEGIN}\n${stringify(table).trimEnd()}\n${END}\n`
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

const muster = ({ model_providers }: TomlTable): TomlTable => (isTable(model_providers) ? model_providers : {})

const isTable = (value: unknown): value is TomlTable =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
