import { hash } from 'node:crypto'
import { type AppManifest, MusterError } from '@muster/protocol'
import type { Tool } from '@muster/tools'
import type { Agent } from './agent.ts'
import type { Plan } from './plan.ts'

/** Everything that a worker carries, by name. */
export interface App {
  tools: ReadonlyMap<string, Tool>
  /** By `name@version`, and by `name` for the one defined last. */
  agents: ReadonlyMap<string, Agent>
  plans: ReadonlyMap<string, Plan>
  manifest: AppManifest
}

/**
 * Collects the agents, plans and tools among a module's exports, and the tools that they name.
 *
 * @throws MusterError `definition.invalid` when two different definitions have one name, or a plan as data names what
 * there is not
 */
export function collect(exports: Record<string, unknown>): App {
  const tools = new Map<string, Tool>()
  const agents = new Map<string, Agent>()
  const plans = new Map<string, Plan>()
  const addTool = (tool: Tool) => {
    const other = tools.get(tool.name)
    if (other && other !== tool) throw new MusterError('definition.invalid', `two tools have the name "${tool.name}"`)
    tools.set(tool.name, tool)
  }
  const add = <T extends { kind: string; name: string; version: string }>(map: Map<string, T>, definition: T) => {
    const key = `${definition.name}@${definition.version}`
    const other = map.get(key)
    if (other && other !== definition)
      throw new MusterError('definition.invalid', `two ${definition.kind}s have the name and version ${key}`)
    map.set(key, definition)
    map.set(definition.name, definition)
  }
  const addAgent = (agent: Agent) => {
    if (agents.get(`${agent.name}@${agent.version}`) === agent) return
    add(agents, agent)
    for (const tool of agent.tools) addTool(tool)
    for (const other of [...agent.agents, ...agent.handoffs]) addAgent(other)
  }
  for (const value of Object.values(exports)) {
    if (isDefinition(value, 'tool')) addTool(value)
    else if (isDefinition(value, 'agent')) addAgent(value)
    else if (isDefinition(value, 'plan')) {
      add(plans, value)
      for (const tool of value.tools) addTool(tool)
      for (const agent of value.agents) addAgent(agent)
    }
  }
  for (const key of plans.keys())
    if (key.includes('@') && agents.has(key))
      throw new MusterError(
        'definition.invalid',
        `an agent and a plan have the name and version ${key}: a run of it could be of either. Rename one of them`,
      )
  for (const plan of new Set(plans.values())) checkNames(plan, tools, agents)
  const definitions = [...new Set([...agents.values(), ...plans.values()])].map((definition) => definition.manifest)
  const toolManifests = [...tools.values()].map((tool) => tool.manifest)
  const hashes = [...definitions, ...toolManifests].map((manifest) => manifest.hash).sort()
  return {
    tools,
    agents,
    plans,
    manifest: { hash: hash('sha256', hashes.join(), 'hex'), definitions, tools: toolManifests },
  }
}

/** A plan as data has names in place of what they stand for. */
function checkNames({ name, body }: Plan, tools: App['tools'], agents: App['agents']): void {
  if (!('data' in body)) return
  for (const [id, step] of Object.entries(body.data.steps)) {
    const absent =
      'tool' in step && !tools.has(step.tool)
        ? `/steps/${id}/tool: there is no tool "${step.tool}"`
        : 'agent' in step && !agents.has(step.agent)
          ? `/steps/${id}/agent: there is no agent "${step.agent}"`
          : undefined
    if (absent !== undefined)
      throw new MusterError(
        'definition.invalid',
        `plan "${name}": ${absent}. Export it, or name it in the plan's tools or agents`,
      )
  }
}

interface Kinds {
  tool: Tool
  agent: Agent
  plan: Plan
}

function isDefinition<K extends keyof Kinds>(value: unknown, kind: K): value is Kinds[K] {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind && 'manifest' in value
}
