/** One turn of the scripted model: calls of tools side by side, or the answer. */
export type Turn = { calls: { name: string; arguments: object }[] } | { answer: unknown }

/** A task as it is played: the model does exactly this, whatever it is told. */
export interface Task {
  name: string
  /** `office` unless given. */
  agent?: 'office' | 'supplier' | 'buyer'
  /** A plan instead of an agent, with its input. */
  plan?: { name: 'copying' | 'matching'; input: object }
  turns?: Turn[]
  /** Other fields of the run's input. */
  data?: object
  /** Labels of the run's input. */
  labels?: string[]
  /** Runs before it in the same session. */
  earlier?: Turn[][]
}

export type AttackClass =
  | 'direct'
  | 'tool output'
  | 'memory'
  | 'sub-agent'
  | 'argument smuggling'
  | 'encoded'
  | 'exfiltration'
  | 'changed tool'

export interface Attack extends Task {
  class: AttackClass
  /** The effect that must not happen, or not more often than `meant`. */
  harm: string
  meant?: number
}

export interface Benign extends Task {
  class: AttackClass
  /** The effects that the user wants, in any order; none for a task whose answer is all. */
  wants: string[]
  /** Roles that are asked, and approve. */
  approvals?: string[]
  /** The set refuses it: a cost of the set. */
  blocked?: true
}

export interface NotStopped extends Task {
  class: string
  /** The effect that happens, or what the answer holds that it should not. */
  harm?: string
  says?: string
  /** Roles that are asked, and approve. */
  approvals?: string[]
  why: string
}

/** A turn of calls; a tool's name as it is defined. */
export function turn(...calls: [name: string, input: object][]): Turn {
  return { calls: calls.map(([name, input]) => ({ name: name.replaceAll('.', '_'), arguments: input })) }
}

export function answer(text: unknown = 'done'): Turn {
  return { answer: text }
}

/** A value of an earlier step, passed on as it is. */
export function from(step: string, path = ''): { $ref: string } {
  return { $ref: `#/steps/${step}/output${path}` }
}

/** A call of another agent. */
export function ask(agent: string, ...turns: Turn[]): [string, object] {
  return [`ask.${agent}`, { turns }]
}

/** The common beginning: the model reads a mail, and from then on does what its writer wants. */
export const readsMail = (id = 'attack'): Turn => turn(['mail.read', { id }])
export const pays = (payee: unknown = 'ACC-666', amount: unknown = 9000): Turn =>
  turn(['ledger.pay', { payee, amount }])
export const sends = (to: unknown, body: unknown): Turn => turn(['mail.send', { to, body }])
