import { type FSWatcher, watch } from 'node:fs'
import { loadPolicies, type PolicySet } from '@muster/governance'
import { type AppManifest, type PolicySource, toMusterError } from '@muster/protocol'
import type { Logger } from 'pino'
import { policyFolders, readPolicies } from './read-policies.ts'

/** What is written in several parts, or into several files, is read when no more has come for this long, ms. */
const QUIET_MS = 200
/** Pause before a set is published again where that failed, ms. */
const AGAIN_MS = 5000

export interface WatchOptions {
  /** As `MUSTER_POLICY` has them. */
  paths: string | undefined
  app: AppManifest
  /** What they were when the worker started. */
  sources: readonly PolicySource[]
  use: (set: PolicySet) => Promise<void>
  log: Logger
}

/**
 * Has a worker decide by its policy files as they are: when one changes, and on SIGHUP. What is not valid is logged with
 * its places, and the set before it stays.
 */
export function watchPolicies({ paths, app, sources, use, log }: WatchOptions): { close(): void } {
  let last = JSON.stringify(sources)
  let timer: NodeJS.Timeout | undefined
  let watchers: FSWatcher[] = []
  let closed = false
  let reading = Promise.resolve()

  const soon = (ms = QUIET_MS) => {
    clearTimeout(timer)
    if (!closed) timer = setTimeout(look, ms)
  }
  const look = () => {
    reading = reading.then(reload)
  }

  async function reload(): Promise<void> {
    // A folder that was replaced is another one.
    watchFolders()
    let text: string | undefined
    try {
      const found = readPolicies(paths)
      text = JSON.stringify(found)
      if (text === last || closed) return
      const set = loadPolicies(found, app)
      await use(set)
      last = text
      log.info({ set: set.hash, policies: set.policies.size }, 'policies changed: decisions are by these from now on')
    } catch (error) {
      if (closed) return
      const { code, issues, message } = toMusterError(error)
      if (code === 'policy.invalid' || code === 'config.invalid') {
        // Told once.
        last = text ?? last
        log.error({ errors: issues }, `policies not changed, those before stay: ${message}`)
        return
      }
      log.error({ err: error }, 'policies not changed yet; it is tried again')
      soon(AGAIN_MS)
    }
  }

  function watchFolders(): void {
    for (const watcher of watchers) watcher.close()
    watchers = []
    if (closed) return
    for (const folder of folders()) {
      try {
        const watcher = watch(folder, () => soon())
        watcher.on('error', (error) => log.warn({ err: error, folder }, 'policies are not watched; SIGHUP reads them'))
        watchers.push(watcher)
      } catch (error) {
        log.warn({ err: error, folder }, 'policies are not watched; SIGHUP reads them')
      }
    }
  }

  function folders(): string[] {
    try {
      return policyFolders(paths)
    } catch {
      // Gone between two looks at it.
      soon(AGAIN_MS)
      return []
    }
  }

  const hup = () => soon(0)
  // A terminal that is closed sends it too, and then means the end.
  const ofTerminal = process.stdin.isTTY === true
  if (!ofTerminal) process.on('SIGHUP', hup)
  watchFolders()
  // What changed while the worker started.
  soon()
  return {
    close() {
      closed = true
      clearTimeout(timer)
      process.off('SIGHUP', hup)
      watchFolders()
    },
  }
}
