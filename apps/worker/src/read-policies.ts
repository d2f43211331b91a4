import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Config, MusterError, type PolicySource } from '@muster/protocol'
import { ToolLock } from '@muster/tools'

/** What names the set that comes with Muster, in place of a path. */
const DEFAULT = 'default'

/** What stands before a file or folder whose policies are tried and not enforced. */
const LOG_ONLY = 'log-only:'

/**
 * The policies that `MUSTER_POLICY` names: files and folders separated by commas, `default` for the set that comes with
 * Muster.
 *
 * @param option what to call it in an error
 */
export function readPolicies(paths: string | undefined, option = 'MUSTER_POLICY'): PolicySource[] {
  return partsOf(paths).flatMap(({ path, mode }) => {
    try {
      const files = statSync(path).isDirectory()
        ? readdirSync(path)
            .filter((file) => file.endsWith('.cedar'))
            .sort()
            .map((file) => join(path, file))
        : [path]
      return files.map((file) => ({
        file: basename(file),
        text: readFileSync(file, 'utf8'),
        ...(mode ? { mode } : {}),
      }))
    } catch (cause) {
      throw new MusterError('config.invalid', `${option}: ${path} cannot be read`, { cause })
    }
  })
}

/** The folders in which a change of the policies shows: those of what is named, also while it is away, and of what links lead to. */
export function policyFolders(paths: string | undefined): string[] {
  const folders = partsOf(paths).flatMap(({ isOwn, path }) => {
    if (!isOwn) return []
    if (!existsSync(path)) return [dirname(path)]
    const around = lstatSync(path).isSymbolicLink() ? [dirname(path)] : []
    return [folderOf(path), folderOf(realpathSync(path)), ...around]
  })
  return [...new Set(folders)]
}

/** The lock file of approved tools; undefined where none is configured. */
export function readToolLock(path: string | undefined): ToolLock | undefined {
  if (path === undefined) return undefined
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new MusterError('config.invalid', `MUSTER_TOOLS_LOCK: ${path} cannot be read`, { cause })
  }
  return ToolLock.parse(text, path)
}

/** Where `muster tools approve` writes: as configured, else next to the policies. */
export function toolLockPath(config: Config): string {
  const own = partsOf(config.MUSTER_POLICY).find(({ isOwn }) => isOwn)
  const folder = own === undefined ? '.' : folderOf(own.path)
  return config.MUSTER_TOOLS_LOCK ?? join(folder, 'muster.tools.json')
}

function folderOf(path: string): string {
  return statSync(path).isDirectory() ? path : dirname(path)
}

interface Part {
  path: string
  mode: 'log-only' | undefined
  /** It is not the set that comes with Muster. */
  isOwn: boolean
}

function partsOf(paths = ''): Part[] {
  return paths.split(',').flatMap((text) => {
    const part = text.trim()
    const mode = part.startsWith(LOG_ONLY) ? 'log-only' : undefined
    const named = mode === undefined ? part : part.slice(LOG_ONLY.length).trim()
    if (named === '') return []
    const isOwn = named !== DEFAULT
    const path = isOwn ? named : fileURLToPath(import.meta.resolve('@muster/governance/policies/default.cedar'))
    return [{ path, mode, isOwn }]
  })
}
