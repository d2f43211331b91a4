import { type Dirent, readdirSync, statSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { MusterError } from '@muster/protocol'

/** What changes without being anybody's work, and would drown the rest. */
const skipped = new Set(['.git', 'node_modules'])
/** Files that a workspace may have for its changes to be told. */
const FILES_MAX = 50_000

export type Files = ReadonlyMap<string, string>

export interface Change {
  path: string
  kind: 'added' | 'changed' | 'deleted'
}

/** Each file below a folder with what tells that it was written to. @throws MusterError `tool.failed` */
export function filesIn(folder: string): Files {
  const files = new Map<string, string>()
  const open = [folder]
  for (let next = open.pop(); next !== undefined; next = open.pop())
    for (const entry of entriesOf(next)) {
      const path = join(next, entry.name)
      if (entry.isDirectory()) {
        if (!skipped.has(entry.name)) open.push(path)
      } else if (entry.isFile()) {
        const { mtimeNs = 0n, size = 0n, ino = 0n } = statSync(path, { bigint: true, throwIfNoEntry: false }) ?? {}
        files.set(relative(folder, path).replaceAll(sep, '/'), `${mtimeNs} ${size} ${ino}`)
        if (files.size > FILES_MAX)
          throw new MusterError('tool.failed', `${folder} has more than ${FILES_MAX} files: give a folder with fewer`)
      }
    }
  return files
}

/** By path. */
export function changesBetween(before: Files, after: Files): Change[] {
  const changes: Change[] = []
  for (const [path, seen] of after) {
    const was = before.get(path)
    if (was !== seen) changes.push({ path, kind: was === undefined ? 'added' : 'changed' })
  }
  for (const path of before.keys()) if (!after.has(path)) changes.push({ path, kind: 'deleted' })
  return changes.sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** A folder may vanish while it is read. */
function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch {
    return []
  }
}
