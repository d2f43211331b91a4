import { existsSync, writeFileSync } from 'node:fs'
import type { Config } from '@muster/protocol'
import { loadApp, readToolLock, ToolLock, toolLockPath } from '@muster/worker/settings'
import pc from 'picocolors'
import { plain, print } from '../output.ts'

/** `muster tools approve`: writes the lock file, so that each tool as it is now counts as approved. */
export async function approveToolsCommand(config: Config, json: boolean): Promise<undefined> {
  const { tools } = (await loadApp(config.MUSTER_APP)).manifest
  const file = toolLockPath(config)
  writeFileSync(file, ToolLock.of(tools).toString())
  if (json) print({ file, tools: tools.map(({ name }) => name) })
  else console.log(`approved ${tools.length} tools in ${file}; workers read it where MUSTER_TOOLS_LOCK names it`)
}

/** `muster tools check`: exits 0 when the app's tools are those of the lock file, 1 when one differs. */
export async function checkToolsCommand(config: Config, json: boolean): Promise<number> {
  const { tools } = (await loadApp(config.MUSTER_APP)).manifest
  const file = toolLockPath(config)
  const lock = (existsSync(file) ? readToolLock(file) : undefined) ?? new ToolLock(new Map())
  const found = lock.differences(tools)
  const count = found.changed.length + found.added.length + found.removed.length
  if (json) print({ file, ...found })
  else if (count === 0) console.log(`${tools.length} tools, all as approved in ${file}`)
  else
    for (const [what, names] of Object.entries(found))
      for (const name of names) console.log(`${pc.yellow(what.padEnd(8))} ${plain(name)}`)
  return count === 0 ? 0 : 1
}
