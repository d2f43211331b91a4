import {
  type AppManifest,
  type DefinitionManifest,
  definitionManifest,
  type ToolManifest,
  toolManifest,
} from '@muster/protocol'
import type { JournalRedis } from './commands.ts'
import type { Keys } from './keys.ts'

/**
 * Makes a worker's agents, plans and tools known to the servers. A bare name is of one kind, that published last: what
 * was a plan and is an agent now would else be begun as the plan, which no worker carries any more.
 */
export async function publish(redis: JournalRedis, keys: Keys, app: AppManifest): Promise<void> {
  const fields = new Map<string, string>()
  const gone = new Set<string>()
  for (const definition of app.definitions) {
    const { kind, name, version } = definition
    const text = JSON.stringify(definition)
    const other = `${kind === 'agent' ? 'plan' : 'agent'}:${name}`
    fields.set(`${kind}:${name}@${version}`, text)
    fields.set(`${kind}:${name}`, text)
    fields.delete(other)
    gone.delete(`${kind}:${name}`)
    gone.add(other)
  }
  for (const tool of app.tools) fields.set(`tool:${tool.name}`, JSON.stringify(tool))
  if (fields.size === 0) return
  const all = redis.multi().hset(keys.manifest, fields)
  if (gone.size > 0) all.hdel(keys.manifest, ...gone)
  await all.exec()
}

/** Definitions that were read before, by where they stand: one that has not changed is not checked again. */
export type KnownDefinitions = Map<string, { text: string; definition: DefinitionManifest }>

/** A published definition: of the version given, else the one published last. */
export async function definition(
  redis: JournalRedis,
  keys: Keys,
  known: KnownDefinitions,
  wanted: { kind: 'agent' | 'plan'; name: string; version?: string | undefined },
): Promise<DefinitionManifest | undefined> {
  const { kind, name, version } = wanted
  const field = version === undefined ? `${kind}:${name}` : `${kind}:${name}@${version}`
  const text = await redis.hget(keys.manifest, field)
  if (text === null) return undefined
  const before = known.get(field)
  if (before?.text === text) return before.definition
  const definition = definitionManifest.parse(JSON.parse(text))
  known.set(field, { text, definition })
  return definition
}

/** Everything published, the latest of each. */
export async function manifest(
  redis: JournalRedis,
  keys: Keys,
): Promise<{ definitions: DefinitionManifest[]; tools: ToolManifest[] }> {
  const fields = await redis.hgetall(keys.manifest)
  const definitions: DefinitionManifest[] = []
  const tools: ToolManifest[] = []
  for (const [field, text] of Object.entries(fields)) {
    if (field.startsWith('tool:')) tools.push(toolManifest.parse(JSON.parse(text)))
    else if (!field.includes('@')) definitions.push(definitionManifest.parse(JSON.parse(text)))
  }
  return { definitions, tools }
}
