import {
  type AppManifest,
  type DefinitionManifest,
  definitionManifest,
  type ToolManifest,
  toolManifest,
} from '@muster/protocol'
import type { JournalRedis } from './commands.ts'
import type { Keys } from './keys.ts'

/** Makes a worker's agents, plans and tools known to the servers. */
export async function publish(redis: JournalRedis, keys: Keys, app: AppManifest): Promise<void> {
  const fields: Record<string, string> = {}
  for (const definition of app.definitions) {
    const text = JSON.stringify(definition)
    fields[`${definition.kind}:${definition.name}@${definition.version}`] = text
    fields[`${definition.kind}:${definition.name}`] = text
  }
  for (const tool of app.tools) fields[`tool:${tool.name}`] = JSON.stringify(tool)
  if (Object.keys(fields).length > 0) await redis.hset(keys.manifest, fields)
}

/** A published definition: of the version given, else the one published last. */
export async function definition(
  redis: JournalRedis,
  keys: Keys,
  wanted: { kind: 'agent' | 'plan'; name: string; version?: string | undefined },
): Promise<DefinitionManifest | undefined> {
  const { kind, name, version } = wanted
  const text = await redis.hget(keys.manifest, version === undefined ? `${kind}:${name}` : `${kind}:${name}@${version}`)
  return text === null ? undefined : definitionManifest.parse(JSON.parse(text))
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
