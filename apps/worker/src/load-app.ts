import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { MusterError } from '@muster/protocol'
import { type App, collect } from '@muster/sdk'

/** Said in place of a module where there is none: what a gateway is used for needs no agents. */
const NONE = 'none'

/** The agents, plans and tools that a module exports. @throws MusterError saying why it cannot be loaded */
export async function loadApp(file: string | undefined): Promise<App> {
  if (file === undefined)
    throw new MusterError(
      'config.invalid',
      'MUSTER_APP: name the module that exports your agents, or use --app; "none" where there is but the gateway',
    )
  if (file === NONE) return collect({})
  const app = collect(await importApp(file))
  if (app.manifest.definitions.length === 0)
    throw new MusterError('definition.invalid', `${file} exports no agent and no plan`)
  return app
}

async function importApp(file: string): Promise<Record<string, unknown>> {
  const path = resolve(file)
  try {
    return await import(pathToFileURL(path).href)
  } catch (error) {
    if (error instanceof MusterError) throw error
    const why = existsSync(path) ? reason(error) : `there is no file ${path}`
    throw new MusterError('definition.invalid', `${file} cannot be loaded: ${why}`, { cause: error })
  }
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { message } = error
  if (/^Cannot find package '(@muster\/|zod')/.test(message))
    return `${message}. Put it anywhere below Muster's own folder, or into a package that depends on it`
  const place = placeOf(error)
  return place === undefined ? message : `${place}: ${message}`
}

/**
 * File and line that are at fault, which may be in any module that the app imports. The message does not have them: Node
 * puts them on top of the stack for what it cannot read, as a path or a URL, and into the frames for what was thrown.
 */
function placeOf({ stack = '' }: Error): string | undefined {
  for (const [, where = '', line] of stack.matchAll(/(file:\/\/[^\s)]+?|^\/.+?):(\d+)/gm)) {
    const path = where.startsWith('file:') ? fileURLToPath(where) : where
    if (path === import.meta.filename) return undefined
    if (!path.includes('/node_modules/')) return `${path}:${line}`
  }
  return undefined
}
