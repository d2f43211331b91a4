import { readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { PolicySource } from '@muster/governance'
import { type Config, MusterError } from '@muster/protocol'
import { ToolLock } from '@muster/tools'

/** What names the set that comes with Muster, in place of a path. */
const DEFAULT = 'default'

/** The policies that `MUSTER_POLICY` names: files and folders separated by commas, `default` for the set that comes with Muster. */
export function readPolicies(paths: string | undefined): PolicySource[] {
  return partsOf(paths).flatMap((part) => {
    const path =
      part === DEFAULT ? fileURLToPath(import.meta.resolve('@muster/governance/policies/default.cedar')) : part
    try {
      const files = statSync(path).isDirectory()
        ? readdirSync(path)
            .filter((file) => file.endsWith('.cedar'))
            .sort()
            .map((file) => join(path, file))
        : [path]
      return files.map((file) => ({ file: basename(file), text: readFileSync(file, 'utf8') }))
    } catch (cause) {
      throw new MusterError('config.invalid', `MUSTER_POLICY: ${path} cannot be read`, { cause })
    }
  })
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
  const own = partsOf(config.MUSTER_POLICY).find((part) => part !== DEFAULT)
  const folder = own === undefined ? '.' : statSync(own).isDirectory() ? own : dirname(own)
  return config.MUSTER_TOOLS_LOCK ?? join(folder, 'muster.tools.json')
}

function partsOf(paths = ''): string[] {
  return paths
    .split(',')
    .map((path) => path.trim())
    .filter((path) => path !== '')
}
