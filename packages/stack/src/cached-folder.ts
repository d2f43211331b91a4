import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/**
 * A folder that is either whole or not there.
 *
 * `fill` works in a folder of its own beside it, which then takes the name by one rename. When two processes fill it at
 * once, one rename wins, and the other process drops its own work and uses the winner's.
 */
export async function cachedFolder(folder: string, fill: (folder: string) => Promise<void>): Promise<string> {
  if (await exists(folder)) return folder
  await mkdir(dirname(folder), { recursive: true })
  const draft = await mkdtemp(join(dirname(folder), `.${basename(folder)}-`))
  try {
    await fill(draft)
    await rename(draft, folder)
  } catch (error) {
    // A folder with files in it is never replaced by rename, so the loser comes here.
    if (!(await exists(folder))) throw error
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
  return folder
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined
}
