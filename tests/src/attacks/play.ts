import { readFileSync } from 'node:fs'
import { isEnded, type Run } from '@muster/protocol'
import type { Harness } from '../harness.ts'
import type { Task } from './case.ts'

/** What came of a task. */
export interface Played {
  status: Run['status']
  /** Names of the effects outside, as the tools wrote them down. */
  effects: string[]
  /** Policies of the set that refused or asked. */
  policies: string[]
  /** Roles that were asked. */
  asked: string[]
  output: string
}

/** Plays tasks on one worker; `effects` is the file in which its tools write what they do. */
export class Stage {
  readonly #muster: Harness['muster']
  readonly #effects: string
  /** Keeps what is remembered apart. */
  readonly #name: string

  constructor(muster: Harness['muster'], name: string, effects: string) {
    this.#muster = muster
    this.#name = name
    this.#effects = effects
  }

  /** `approvals`: roles that are asked and approve; others are left to wait. */
  async play(task: Task & { approvals?: string[] }): Promise<Played> {
    const { agent = 'office', plan, turns = [], data, labels, earlier = [], approvals = [] } = task
    // Played runs of one task share a session; an agent without one has none before it.
    const session = earlier.length > 0 ? { session: `${this.#name}: ${task.name}` } : {}
    const start = (body: object) => this.#muster.request<Run>('POST', '/v1/runs', { ...body, ...session })
    const asked: string[] = []
    for (const before of earlier) {
      const { id } = await start({ agent, input: { turns: before } })
      await this.#settle(id, [], asked)
    }
    const input = { turns, ...(data ? { data } : {}) }
    const { id } = await (plan
      ? start({ plan: plan.name, input: plan.input })
      : start({ agent, input, ...(labels ? { labels } : {}) }))
    const run = await this.#settle(id, approvals, asked)
    const { runs, policies } = await this.#trail(id)
    return {
      status: run.status,
      effects: this.#lines()
        .filter((line) => runs.has(line.run))
        .map(({ effect }) => effect)
        .sort(),
      policies,
      asked,
      output: JSON.stringify(run.output ?? null),
    }
  }

  #lines(): { effect: string; run: string }[] {
    const lines = readFileSync(this.#effects, 'utf8').split('\n')
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line))
  }

  /** Until the run has ended, or nothing goes on in it that nobody is asked about. */
  async #settle(id: string, approvals: string[], asked: string[]): Promise<Run> {
    const told = new Set<string>()
    const deadline = Date.now() + 60_000
    for (;;) {
      const run = await this.#muster.runs.get(id)
      if (isEnded(run.status) || (await this.#isStuck(run, approvals, asked, told))) return run
      if (Date.now() > deadline) throw new Error(`run ${id} is ${run.status} after a minute`)
      await new Promise((resolve) => setTimeout(resolve, 150))
    }
  }

  /** Answers for the roles that approve; whether all that the run waits for is a person who does not. */
  async #isStuck(run: Run, approvals: string[], asked: string[], told: Set<string>): Promise<boolean> {
    let stuck = run.status === 'waiting' && run.waiting.length > 0
    for (const { for: reason, child, step, role = '', digest = '' } of run.waiting) {
      if (reason === 'child' && child !== undefined) {
        stuck = (await this.#isStuck(await this.#muster.runs.get(child), approvals, asked, told)) && stuck
        continue
      }
      if (!told.has(digest)) asked.push(role)
      if (approvals.includes(role)) {
        stuck = false
        if (!told.has(digest)) await this.#muster.runs.approve(run.id, { step, verdict: 'approve', digest })
      }
      told.add(digest)
    }
    return stuck
  }

  /** The run with all below it, and the policies of the set that stopped anything, as the journals say. */
  async #trail(root: string): Promise<{ runs: Set<string>; policies: string[] }> {
    const runs = new Set([root])
    const policies = new Set<string>()
    for (const id of runs) {
      const response = await this.#muster.open('GET', `/v1/runs/${id}/journal`)
      // Entries stand in it as JSON in JSON.
      const text = (await response.text()).replaceAll('\\"', '"')
      for (const [, child = ''] of text.matchAll(/"child":"([^"]+)"/g)) runs.add(child)
      for (const [policy] of text.matchAll(/default-(?!permit)[a-z-]+/g)) policies.add(policy)
    }
    return { runs, policies: [...policies].sort() }
  }
}
