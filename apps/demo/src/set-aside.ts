import { mkdir, rename, stat, writeFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { pathIn } from './folder.ts'

export interface SetAside {
  file: string
  folder: string
  reason: string
}

/**
 * Moves a file out of the inbox, with the reason beside it. A repeat finds the file moved already and
 * is content; a file of the same name that was set aside before is kept.
 */
export async function setAside({ file, folder, reason }: SetAside, into: string): Promise<{ file: string }> {
  const from = pathIn(folder, file)
  if (!(await isThere(from))) return { file }
  await mkdir(into, { recursive: true })
  const extension = extname(file)
  const stem = file.slice(0, file.length - extension.length)
  let name = file
  for (let n = 2; await isThere(join(into, name)); n++) name = `${stem}-${n}${extension}`
  // The reason first: after a crash between the two, the repeat moves the file.
  await writeFile(join(into, `${name}.reason.txt`), `${reason}\n`)
  await rename(from, join(into, name))
  return { file: name }
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
