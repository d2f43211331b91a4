import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

/**
 * Breaks the build that a worker loads, to show that the checker finds it: `node --import broken-build.ts` with BROKEN
 * naming what is taken out. Nothing of this is in what ships: the text of the files is changed while they are loaded.
 */
const breakages: Record<string, readonly { module: string; change: (text: string) => string }[]> = {
  /** Appends are taken from whoever holds, or held, the run; and who has lost it goes on with it. */
  fencing: [
    {
      module: '/packages/journal/src/commands.ts',
      change: (text) => {
        const lua = readFileSync(new URL('../../../packages/journal/src/commands/append.lua', import.meta.url), 'utf8')
        const unfenced = [
          ['if now[1] ~= epoch then', 'if false then'],
          ['elseif now[2] ~= before then', 'elseif false then'],
          ["call('XADD', log,", "redis.pcall('XADD', log,"],
        ].reduce((lua, [from = '', to = '']) => replaced(lua, from, to), lua)
        // What it includes is put in as ever.
        return replaced(
          text,
          'const text = readFileSync(',
          `const text = name === 'append' ? ${JSON.stringify(unfenced)} : readFileSync(`,
        )
      },
    },
    {
      module: '/packages/runtime/src/run/active-run.ts',
      change: (text) => replaced(text, "  lose(): void {\n    this.#stop('fenced')\n  }", '  lose(): void {}'),
    },
    {
      module: '/packages/runtime/src/step/lease.ts',
      change: (text) => replaced(text, 'if (performance.now() - since < lockMs / 2) {', 'if (lockMs > 0) {'),
    },
  ],
  /** Who takes a run up forgets the labels of what its steps gave. */
  labels: [
    {
      module: '/packages/runtime/src/run/recorded.ts',
      change: (text) => replaced(text, "? 'null' : output,\n        entry.labels,", "? 'null' : output,\n        [],"),
    },
  ],
  /** A worker logs how it is set up, and what tools are given. */
  secrets: [
    {
      module: '/apps/worker/src/run-worker.ts',
      change: (text) => replaced(text, 'const app = await', "log.debug(config, 'settings')\n  const app = await"),
    },
    {
      module: '/packages/runtime/src/step/step-life.ts',
      change: (text) =>
        replaced(text, '  const begin = () =>', '  run.services.log.debug({ input })\n  const begin = () =>'),
    },
  ],
  /** Budgets are told that a call has used nothing. */
  'budgets that forget': [
    { module: '/packages/runtime/src/limits/spending.ts', change: told('{ usd: 0, tokens: 0 }') },
  ],
  /** Budgets are told that a call has used all that was set aside for it. */
  'budgets that keep': [{ module: '/packages/runtime/src/limits/spending.ts', change: told('taken') }],
  /** Effects do not wait for their intents. */
  barrier: [
    {
      module: '/packages/runtime/src/step/step-life.ts',
      change: (text) =>
        replaced(
          text,
          "run.whenDurable(seq, operation.effect === 'once' ? () => whenHeld(run, since, begin) : begin)",
          'begin()',
        ),
    },
  ],
}

/** What a budget is told of a call. */
function told(spent: string): (text: string) => string {
  return (text) => replaced(text, 'const spent = isCut ?', `const spent = true ? ${spent} : isCut ?`)
}

/** @throws Error where the text has moved on: a breakage that breaks nothing would prove nothing */
function replaced(text: string, from: string, to: string): string {
  if (text.split(from).length !== 2) throw new Error(`broken build: "${from}" does not stand there once`)
  return text.replace(from, () => to)
}

const broken = breakages[process.env.BROKEN ?? '']
if (!broken) throw new Error(`broken build: BROKEN is one of ${Object.keys(breakages).join(', ')}`)

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    const breakage = broken.find(({ module }) => url.endsWith(module))
    if (!breakage) return loaded
    return { ...loaded, source: breakage.change(String(loaded.source)) }
  },
})
