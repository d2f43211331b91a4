import { useState } from 'preact/hooks'
import { request } from './api.ts'
import { useRefresh } from './use-refresh.ts'

interface Told<Answer> {
  path: string
  answer: Answer | undefined
  error: unknown
}

/**
 * What a path answers, asked for again every `everyMs`. It is of this path and of no other: what an earlier one answers
 * late is not shown, and what this one answered last stays where it fails later.
 */
export function useAnswer<Answer>(path: string, everyMs: number): Pick<Told<Answer>, 'answer' | 'error'> {
  const [told, setTold] = useState<Told<Answer>>()
  useRefresh(
    async (signal) => {
      try {
        const answer = await request<Answer>(path, { signal })
        if (!signal.aborted) setTold({ path, answer, error: undefined })
      } catch (error) {
        if (!signal.aborted) setTold((last) => ({ path, answer: last?.path === path ? last.answer : undefined, error }))
      }
    },
    everyMs,
    [path],
  )
  return told?.path === path ? told : { answer: undefined, error: undefined }
}
