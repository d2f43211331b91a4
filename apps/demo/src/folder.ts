import { lstat, readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { MusterError } from '@muster/sdk'

/**
 * The path of a file that lies directly in a folder. File names may come from a model that read a
 * stranger's document: what leads out of the folder (`..`, separators, links) is refused.
 *
 * @throws MusterError `input.invalid`
 */
export async function fileIn(folder: string, file: string): Promise<string> {
  const path = pathIn(folder, file)
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined) throw new MusterError('input.invalid', `there is no file "${file}" in the folder`)
  if (!found.isFile()) throw new MusterError('input.invalid', `"${file}" is not a plain file`)
  return path
}

/** The same, whether or not the file is there. */
export function pathIn(folder: string, file: string): string {
  if (file === '' || file.startsWith('.') || /[/\\\0]/.test(file)) {
    throw new MusterError('input.invalid', `"${file}" is not the name of a file in the folder`)
  }
  return join(resolve(folder), file)
}

/** Names of the plain files in a folder, hidden ones apart, in alphabetical order. */
export async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(resolve(folder), { withFileTypes: true }).catch(() => {
    throw new MusterError('input.invalid', `there is no folder "${folder}"`)
  })
  return entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort()
}
