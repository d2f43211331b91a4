import { hasNewDestination } from '@muster/governance'
import type { Json, ToolManifest } from '@muster/protocol'
import type { ToolLock } from '@muster/tools'

/** By tenant, destinations that were approved; those under `*` for every tenant. */
export type DestinationsByTenant = Readonly<Record<string, readonly string[]>>

/** What policy is told of tools that follows from manifests and configuration: who has approved them, where they send. */
export class ToolFlow {
  readonly #tools: ReadonlyMap<string, ToolManifest>
  readonly #unapproved: ReadonlySet<string>
  readonly #destinations: DestinationsByTenant

  constructor(tools: readonly ToolManifest[], lock?: ToolLock, destinations: DestinationsByTenant = {}) {
    this.#tools = new Map(tools.map((tool) => [tool.name, tool]))
    this.#unapproved = new Set(tools.filter((tool) => lock && !lock.isApproved(tool)).map(({ name }) => name))
    this.#destinations = destinations
  }

  /** True without a lock file. */
  isApproved(tool: string): boolean {
    return !this.#unapproved.has(tool)
  }

  hasNewDestination(tool: string, tenant: string, input: Json): boolean {
    const { sends, destinations = [] } = this.#tools.get(tool) ?? {}
    // Most tools send nothing: this is asked before every call.
    if (sends === undefined) return false
    return hasNewDestination(sends, input, [...destinations, ...this.#of(tenant), ...this.#of('*')])
  }

  #of(tenant: string): readonly string[] {
    return (Object.hasOwn(this.#destinations, tenant) && this.#destinations[tenant]) || []
  }
}
