import { hash } from 'node:crypto'
import { MusterError, sortedJson, type ToolManifest } from '@muster/protocol'
import { z } from 'zod'

const schema = z.object({ version: z.literal(1), tools: z.record(z.string(), z.string()) })

/** What differs between approved tools and those that an app has now, by name. */
export interface ToolDifferences {
  changed: string[]
  /** The app has them, and nobody has approved them. */
  added: string[]
  removed: string[]
}

/**
 * The tools that a person has approved: by name, the hash of what a model and a policy are told of them. Their code is
 * not part of it: of a remote tool nobody here can see it.
 */
export class ToolLock {
  readonly #hashes: ReadonlyMap<string, string>

  constructor(hashes: ReadonlyMap<string, string>) {
    this.#hashes = hashes
  }

  static of(tools: Iterable<ToolManifest>): ToolLock {
    return new ToolLock(new Map([...tools].map((tool) => [tool.name, contentHash(tool)])))
  }

  /** @throws MusterError `config.invalid` when the text is no lock file */
  static parse(text: string, file: string): ToolLock {
    try {
      return new ToolLock(new Map(Object.entries(schema.parse(JSON.parse(text)).tools)))
    } catch (cause) {
      throw new MusterError(
        'config.invalid',
        `${file} is no lock file of tools: write it by \`muster tools approve\``,
        {
          cause,
        },
      )
    }
  }

  isApproved(tool: ToolManifest): boolean {
    return this.#hashes.get(tool.name) === contentHash(tool)
  }

  differences(tools: readonly ToolManifest[]): ToolDifferences {
    const names = new Set(tools.map(({ name }) => name))
    return {
      changed: tools.filter((tool) => this.#hashes.has(tool.name) && !this.isApproved(tool)).map(({ name }) => name),
      added: tools.filter((tool) => !this.#hashes.has(tool.name)).map(({ name }) => name),
      removed: [...this.#hashes.keys()].filter((name) => !names.has(name)),
    }
  }

  toString(): string {
    const tools = Object.fromEntries([...this.#hashes].sort(([a], [b]) => (a < b ? -1 : 1)))
    return `${JSON.stringify({ version: 1, tools }, null, 2)}\n`
  }
}

/** The order of names says nothing: a server may give them in another after a restart. */
function contentHash({ hash: _, name: __, ...told }: ToolManifest): string {
  return hash('sha256', sortedJson(told), 'hex')
}
