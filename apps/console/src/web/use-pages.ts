import { useEffect, useRef, useState } from 'preact/hooks'
import { request } from './api.ts'

interface Pages<Page> {
  /** Undefined until the first is there. */
  pages: Page[] | undefined
  error: unknown
  /** Loads the next page; undefined where there is none. */
  more: (() => void) | undefined
}

/** The pages of what a path answers to a query; they begin anew with another query, or another `round`. */
export function usePages<Page extends { cursor?: string | number | undefined }>(
  path: string,
  query: string,
  round: number,
): Pages<Page> {
  const [pages, setPages] = useState<Page[]>()
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  /** What is shown may have changed while an answer was under way. */
  const shown = useRef('')
  shown.current = `${query} ${round}`
  const load = async (cursor?: string | number) => {
    const wanted = shown.current
    const asked = new URLSearchParams(query)
    if (cursor !== undefined) asked.set('cursor', String(cursor))
    setBusy(true)
    setError(undefined)
    try {
      const page = await request<Page>(`${path}?${asked}`)
      if (shown.current === wanted) setPages((known) => (cursor === undefined ? [page] : [...(known ?? []), page]))
    } catch (error) {
      if (shown.current === wanted) setError(error)
    }
    if (shown.current === wanted) setBusy(false)
  }
  useEffect(() => {
    setPages(undefined)
    load()
  }, [path, query, round])
  const cursor = pages?.at(-1)?.cursor
  return { pages, error, more: cursor === undefined || busy ? undefined : () => load(cursor) }
}
