import { collect, plan, type Tool, tool } from '@muster/sdk'
import { z } from 'zod'
import { resultOf } from '../subject.ts'

/** Steps of a chain. */
export const CHAIN = 20
/** Parallel steps of a fan-out; one more joins them. */
export const FAN = 1000

const input = z.object({ n: z.number() })
const output = z.object({ n: z.number(), text: z.string() })
const version = '1.0.0'

/** Steps in a run of each plan. */
export const stepsOf = {
  chain: CHAIN,
  'chain-code': CHAIN,
  read: CHAIN,
  'read-code': CHAIN,
  fan: FAN + 1,
  'fan-code': FAN + 1,
  one: 1,
}
export type PlanName = keyof typeof stepsOf

/** What the benchmarks' worker carries. `onCall` hears of each call of a tool, with the run that made it. */
export function benchApp(onCall: (run: string) => void = () => {}) {
  const work = tool({ name: 'bench.work', effect: 'pure', input, output, run: ({ n }) => resultOf(n + 1) })
  const look = tool({
    name: 'bench.look',
    effect: 'read',
    input,
    output,
    run: ({ n }, { run }) => {
      onCall(run)
      return resultOf(n + 1)
    },
  })
  const chainOf = (name: PlanName, of: Tool) =>
    plan({
      name,
      version,
      input,
      tools: [of],
      steps: Object.fromEntries(
        Array.from({ length: CHAIN }, (_, i) => [
          `s${i}`,
          { tool: of.name, input: { n: { $ref: i === 0 ? '#/input/n' : `#/steps/s${i - 1}/output/n` } } },
        ]),
      ),
    })
  const chainCodeOf = (name: PlanName, of: typeof work | typeof look) =>
    plan({
      name,
      version,
      input,
      run: async (step, { n }) => {
        let last = { n, text: '' }
        for (let i = 0; i < CHAIN; i++) last = await step.tool(of as typeof work, { n: last.n })
        return last
      },
    })
  const lanes = Array.from({ length: FAN }, (_, i) => `s${i}`)
  return collect({
    work,
    look,
    chain: chainOf('chain', work),
    chainCode: chainCodeOf('chain-code', work),
    read: chainOf('read', look),
    readCode: chainCodeOf('read-code', look),
    fan: plan({
      name: 'fan',
      version,
      input,
      tools: [work],
      steps: {
        ...Object.fromEntries(lanes.map((id, n) => [id, { tool: work.name, input: { n } }])),
        join: { tool: work.name, input: { n: FAN }, after: lanes },
      },
      output: { $ref: '#/steps/join/output' },
    }),
    fanCode: plan({
      name: 'fan-code',
      version,
      input,
      run: async (step) => {
        await Promise.all(lanes.map((_, n) => step.tool(work, { n })))
        return step.tool(work, { n: FAN })
      },
    }),
    one: plan({ name: 'one', version, input, tools: [work], steps: { only: { tool: work.name, input: { n: 0 } } } }),
  })
}

/** Fifty rules more, each on another tool, with labels and a number of the input. */
export const manyPolicies = Array.from(
  { length: 50 },
  (_, i) => `
@id("rule-${i}")
forbid (principal, action == Action::"tool:call", resource == Tool::"bench.${['work', 'look'][i % 2]}")
when { context.labels.contains("secret-${i}") || (context.input has n && context.input.n.greaterThan(decimal("${1000 + i}.5"))) };`,
).join('\n')

/** A policy as small deployments have it: one permit, one rule on labels, one approval. None looks at `bench.…` inputs. */
export const policyText = `
@id("all") permit (principal, action, resource);

@id("untrusted-once")
forbid (principal, action == Action::"tool:call", resource)
when { resource has effect && resource.effect == "once" && context.labels.contains("untrusted") };

@id("secrets-stay")
forbid (principal, action == Action::"tool:call", resource)
when { resource has effect && resource.effect != "pure" && context.labels.contains("secret") };
`
