import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { plain } from './output.ts'

/** A name may come before the worker that carries it, so that a wrong one is no error; who has mistyped it is to know. */
export async function warnIfUnknown(muster: Muster, name: string): Promise<void> {
  if (!/^(agent|plan|tool):/.test(name) || name === 'plan:gateway') return
  const { definitions, tools } = await muster.request<{
    definitions: { kind: string; name: string }[]
    tools: { name: string }[]
  }>('GET', '/v1/definitions')
  const known = [...definitions.map((one) => `${one.kind}:${one.name}`), ...tools.map((one) => `tool:${one.name}`)]
  if (known.includes(name)) return
  console.error(
    `${pc.yellow('warning')} no worker carries ${plain(name)}: it holds for one that will. Is the name right?`,
  )
}
