import { MusterError } from '@muster/protocol'
import { nameOf, type Target } from '../target.ts'

/** What conditions are about. */
export interface About {
  labels: readonly string[]
  inputTokens: () => number
}

/** Whether a target may have what is labelled so. */
function mayHave({ when }: Target, labels: readonly string[]): boolean {
  const { without, only } = when?.labels ?? {}
  if (without?.some((label) => labels.includes(label))) return false
  return only === undefined || only.some((label) => labels.includes(label))
}

/** Why a target may not serve a request; undefined where it may. */
export function refusalOf(target: Target, { labels, inputTokens }: About): string | undefined {
  const { minInputTokens, maxInputTokens, labels: rule } = target.when ?? {}
  if (!mayHave(target, labels)) {
    const found = rule?.without?.filter((label) => labels.includes(label)) ?? []
    return found.length > 0 ? `not for ${quoted(found)}` : `for ${quoted(rule?.only ?? [])} only`
  }
  if (minInputTokens === undefined && maxInputTokens === undefined) return undefined
  const tokens = Math.ceil(inputTokens())
  if (maxInputTokens !== undefined && tokens > maxInputTokens)
    return `for ${maxInputTokens} tokens at most, and this is about ${tokens}`
  if (minInputTokens !== undefined && tokens < minInputTokens)
    return `for ${minInputTokens} tokens at least, and this is about ${tokens}`
  return undefined
}

/** No target of a route may have the request: why not, and which routes lead where it may go. */
export function routeRefused(
  route: string,
  labels: readonly string[],
  refused: readonly { target: Target; error: MusterError }[],
  routes: readonly { name: string; targets: readonly Target[] }[],
): MusterError {
  const why = refused.map(({ target, error }) => `${nameOf(target)}: ${error.message}`).join('; ')
  const others = routes.filter(({ targets }) => targets.some((target) => mayHave(target, labels)))
  const names = others.flatMap(({ name }) => (name === route ? [] : [name]))
  const isOfLabels = refused.some(({ target }) => !mayHave(target, labels))
  const where =
    names.length > 0
      ? `it could go by route ${names.map((name) => `"${name}"`).join(' or ')}`
      : 'nor may one of any route'
  const what = labels.length > 0 ? `a request labelled ${quoted(labels)}` : 'this request'
  const message = `route "${route}": no target may have ${what} (${why})${isOfLabels ? `; ${where}` : ''}`
  return new MusterError('route.refused', message, {
    issues: [{ path: isOfLabels ? '/labels' : '/messages', message: why }],
  })
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(', ')
}
