import { useEffect } from 'preact/hooks'

/** Calls `work` now and again every `everyMs` while the page is visible, never twice at a time. */
export function useRefresh(work: (signal: AbortSignal) => Promise<void>, everyMs: number, inputs: unknown[]): void {
  useEffect(() => {
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    let busy = false
    const run = async () => {
      if (busy || document.hidden) return
      busy = true
      clearTimeout(timer)
      await work(stop.signal)
      busy = false
      if (!stop.signal.aborted) timer = setTimeout(run, everyMs)
    }
    document.addEventListener('visibilitychange', run)
    run()
    return () => {
      stop.abort()
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', run)
    }
  }, inputs)
}
