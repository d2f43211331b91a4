import facts from './models.json' with { type: 'json' }
import { familyOf } from './price.ts'
import { type ModelFacts, modelOf, type Target } from './target.ts'

/** Of a model that several targets may answer for: what holds of each, and nothing where one is not known. `model`: in place of their own. */
export function factsOf(targets: readonly Target[], model?: string): ModelFacts {
  const all = targets.map((target) => ({ ...known(model ?? modelOf(target)), ...target.about }))
  const common: ModelFacts = {}
  for (const name of ['contextWindow', 'maxOutputTokens'] as const) {
    const values = all.flatMap((one) => one[name] ?? [])
    if (values.length === all.length) common[name] = Math.min(...values)
  }
  for (const name of ['inputs', 'efforts'] as const) {
    const lists = all.flatMap((one) => (one[name] ? [one[name]] : []))
    const [first = [], ...others] = lists
    if (lists.length === all.length)
      common[name] = first.filter((value) => others.every((other) => other.includes(value)))
  }
  const tools = all.map((one) => one.tools)
  if (tools.includes(false)) common.tools = false
  else if (!tools.includes(undefined)) common.tools = true
  return common
}

/** A dated snapshot (`gpt-5-2025-08-07`) can do what its family can. */
function known(model: string): ModelFacts | undefined {
  const family = familyOf(model)
  const found = facts.find((one) => one.model === model) ?? facts.find((one) => one.model === family)
  if (!found) return undefined
  const { contextWindow, maxOutputTokens, inputs, tools, efforts } = found
  return { contextWindow, maxOutputTokens, inputs, tools, efforts }
}
