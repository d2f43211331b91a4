import { AsyncLocalStorage } from 'node:async_hooks'
import { MusterError } from '@muster/protocol'

/**
 * Catches what would make a plan's code go another way on replay: clocks, chance, timers and the network, used between
 * its steps. Inside a step, and everywhere else in the process, they are as ever.
 */
const inPlan = new AsyncLocalStorage<string>()

/** Runs a plan's own code. */
export function guarded<T>(plan: string, work: () => T): T {
  install()
  return inPlan.run(plan, work)
}

/** Runs what is not the plan's own code, though the plan has called it. */
export function unguarded<T>(work: () => T): T {
  return inPlan.exit(work)
}

function refuse(what: string, instead: string): void {
  const plan = inPlan.getStore()
  if (plan === undefined) return
  throw new MusterError(
    'plan.non_deterministic',
    `plan "${plan}" uses ${what} between its steps, which would give something else on replay: ${instead}`,
  )
}

const STEP = 'call it in step.run(name, () => …)'

let installed = false

/** Once in a process, and only in one that runs plans as code. */
function install(): void {
  if (installed) return
  installed = true
  // biome-ignore lint/suspicious/noExplicitAny: wraps functions of any shape, and changes nothing about them
  const wrap = (object: any, name: string, instead = STEP) => {
    const original = object[name]
    const what =
      object === globalThis
        ? `${name}()`
        : `${object.constructor?.name === 'Crypto' ? 'crypto' : (object[Symbol.toStringTag] ?? object.name ?? 'performance')}.${name}()`
    object[name] = function (this: unknown, ...args: unknown[]) {
      refuse(what, instead)
      return Reflect.apply(original, this, args)
    }
  }
  wrap(Math, 'random')
  wrap(Date, 'now')
  wrap(performance, 'now')
  wrap(crypto, 'randomUUID')
  wrap(crypto, 'getRandomValues')
  wrap(globalThis, 'fetch')
  wrap(globalThis, 'setTimeout', 'use step.sleep(ms)')
  wrap(globalThis, 'setInterval', 'use step.sleep(ms)')
  globalThis.Date = new Proxy(Date, {
    construct(target, args, newTarget) {
      if (args.length === 0) refuse('new Date()', STEP)
      return Reflect.construct(target, args, newTarget)
    },
  })
}
