import type { AuthorizationAnswer, SchemaJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { Request, Verdict } from './cedar/compiled.ts'
import { outcomeOf, outcomeOfCedar } from './cedar/outcome.ts'
import { EvaluationFailure, type Uid } from './cedar/value.ts'
import { askCedar, prepareCedar } from './reference.ts'

export interface ShadowOptions {
  /** The part of the decisions that cedar-wasm makes as well, 0 to 1. One costs it about 0.1 ms. */
  rate: number
  random: () => number
  /** Told of each decision that cedar-wasm makes otherwise: the compiled one has been taken already. */
  onDifference: (difference: Difference) => void
}

/** A question that was decided in two ways. Names no value of its input, which may be secret. */
export interface Difference {
  set: string
  principal: string
  action: string
  resource: string
  compiled: string
  cedar: string
}

/** Asks the reference again, for a sample of what compiled policies decide. */
export class Shadow {
  readonly #set: string
  readonly #options: ShadowOptions

  /** @throws MusterError `policy.invalid` when cedar-wasm does not take the set */
  constructor(
    set: string,
    policies: ReadonlyMap<string, { text: string }>,
    schema: SchemaJson<string>,
    options: ShadowOptions,
  ) {
    this.#set = set
    this.#options = options
    const texts = Object.fromEntries([...policies].map(([id, { text }]) => [id, text]))
    prepareCedar(set, texts, schema)
  }

  watch(question: Request, verdict: Verdict): void {
    const { rate, random, onDifference } = this.#options
    if (random() >= rate) return
    const compiled = outcomeOf(verdict)
    const cedar = this.#ask(question)
    if (cedar === undefined) return
    if (compiled === cedar) return
    const { principal, action, resource } = question
    const names = { principal: shown(principal), action: shown(action), resource: shown(resource) }
    onDifference({ set: this.#set, ...names, compiled, cedar })
  }

  /** Undefined where the question has no form that the reference can be asked in. */
  #ask(question: Request): string | undefined {
    let answer: AuthorizationAnswer
    try {
      answer = askCedar(this.#set, question)
    } catch (error) {
      if (error instanceof EvaluationFailure) return undefined
      return `failed: ${error instanceof Error ? error.message : String(error)}`
    }
    if (answer.type === 'failure') return `failed: ${answer.errors.map(({ message }) => message).join('; ')}`
    return outcomeOfCedar(answer) ?? 'failed'
  }
}

function shown({ type, id }: Uid): string {
  return `${type}::${JSON.stringify(id)}`
}
