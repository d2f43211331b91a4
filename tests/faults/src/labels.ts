import type { Entry } from '@muster/protocol'

/**
 * Labels of what each plan and agent of the app gives, and of what the tools give that it calls, where that is certain:
 * worked out by hand from `app.ts`. `pay` takes `shelf` off; a plan as data has exactly those of what a value is made of.
 */
const wanted: Record<string, { gives: string[]; tools: Record<string, string[]> }> = {
  errand: { gives: ['shelf'], tools: { look: ['shelf'], write: ['shelf'], pay: [] } },
  asking: { gives: ['shelf'], tools: { look: ['shelf'], launch: ['shelf'] } },
  fan: { gives: ['doubled'], tools: { double: ['doubled'], write: ['doubled'] } },
  office: { gives: ['doubled'], tools: {} },
  teller: { gives: ['doubled'], tools: { double: ['doubled'] } },
  graph: { gives: [], tools: { look: ['shelf'], write: [], pay: [] } },
  rocket: { gives: [], tools: { write: [], launch: [] } },
  waiting: { gives: [], tools: { write: [] } },
  bulk: { gives: [], tools: { write: [] } },
  busy: { gives: [], tools: { spin: [], write: [] } },
}

/** Outcomes in a run's journal that have not the labels that they must have, or more. */
export function checkLabels(name: string, entries: readonly Entry[]): string[] {
  const of = wanted[name]
  if (!of) return [`nobody has worked out the labels of ${name}`]
  const found: string[] = []
  const check = (what: string, must: readonly string[], has: readonly string[]) => {
    if (must.join() !== has.join()) found.push(`${what} has the labels [${has}] and must have [${must}]`)
  }
  for (const one of entries) {
    if (one.type === 'run.ended' && one.status === 'succeeded') check('its output', of.gives, one.labels)
    if (one.type !== 'step.ended' || one.kind !== 'tool' || one.status !== 'ok') continue
    const must = of.tools[one.target]
    if (must) check(`step ${one.step}`, must, one.labels)
    const isTaken = one.declassified?.includes('shelf') === true
    if (isTaken !== (one.target === 'pay' && name === 'errand'))
      found.push(`step ${one.step} ${isTaken ? 'took a label off' : 'does not say which label it took off'}`)
  }
  return found
}
