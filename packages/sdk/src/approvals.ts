import { ANSWERS_MAX, type Answer, type MusterError, type Problem, type Question } from '@muster/protocol'
import type { Request } from './request.ts'

/** What became of one answer of many. */
export interface Answered {
  run: string
  step: string
  /** Why it does not count. */
  error?: MusterError
}

export interface ApprovalsClient {
  /** What waits for people, the oldest run first; with `role` what that may answer, with `target` of that tool only. */
  list(filter?: { role?: string; target?: string }): AsyncGenerator<Question>
  /** Answers many, and says of each whether it counts. */
  answer(answers: readonly (Answer & { run: string })[]): Promise<Answered[]>
}

export function approvalsClient(request: Request, errorOf: (problem: Problem) => MusterError): ApprovalsClient {
  return {
    async *list(filter = {}) {
      let cursor: string | undefined
      do {
        const query = new URLSearchParams({ ...filter, ...(cursor === undefined ? {} : { cursor }) })
        const page = await request<{ approvals: Question[]; cursor?: string }>('GET', `/v1/approvals?${query}`)
        yield* page.approvals
        cursor = page.cursor
      } while (cursor !== undefined)
    },
    async answer(answers) {
      const answered: Answered[] = []
      for (let i = 0; i < answers.length; i += ANSWERS_MAX) {
        const body = { answers: answers.slice(i, i + ANSWERS_MAX) }
        const { results } = await request<{ results: { run: string; step: string; error?: Problem }[] }>(
          'POST',
          '/v1/approvals',
          body,
        )
        for (const { run, step, error } of results)
          answered.push({ run, step, ...(error ? { error: errorOf(error) } : {}) })
      }
      return answered
    },
  }
}
