import { randomUUID } from 'node:crypto'
import { open, rename, rm, stat, utimes } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** A holder that was killed is taken for dead when it has not renewed its lock for so long. */
const staleMs = 5000
const renewMs = 1000

/**
 * Runs `work` while holding a lock file, so that two processes never start a server on one data folder at once.
 *
 * The holder renews the file's time. A process id in it would not do: after a restart of a container the same number
 * belongs to another process. A waiter moves a stale lock away under a name of its own before it takes it.
 */
export async function withStartLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  while (!(await take(file))) {
    await dropIfStale(file)
    await sleep(50)
  }
  const renewal = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => undefined), renewMs)
  renewal.unref()
  try {
    return await work()
  } finally {
    clearInterval(renewal)
    await rm(file, { force: true })
  }
}

async function take(file: string): Promise<boolean> {
  try {
    await (await open(file, 'wx')).close()
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

async function dropIfStale(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined)
  // A time in the future comes of a clock that was set back, and would hold us until then.
  if (found === undefined || Math.abs(Date.now() - found.mtimeMs) < staleMs) return
  const moved = `${file}.${randomUUID()}`
  await rename(file, moved).catch(() => undefined)
  await rm(moved, { force: true })
}
