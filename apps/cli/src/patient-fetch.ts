import pc from 'picocolors'

/** After so long without an answer who waits is told why, ms. */
const SILENT_MS = 1000

/** As `fetch`; says once on standard error that the server does not answer, when that has lasted. The client tries again. */
export function patientFetch(url: string, send: typeof fetch = fetch): typeof fetch {
  let told = false
  let timer: NodeJS.Timeout | undefined
  const tellSoon = (what: string) => {
    if (told) return
    timer ??= setTimeout(() => {
      told = true
      console.error(`${pc.yellow('waits')} ${what} at ${url}; it is tried again`)
    }, SILENT_MS).unref()
  }
  const answers = () => {
    clearTimeout(timer)
    timer = undefined
  }
  return async (input, init) => {
    try {
      const response = await send(input, init)
      if (response.status === 503) tellSoon('the server takes no requests for now')
      else answers()
      return response
    } catch (error) {
      if (!init?.signal?.aborted) tellSoon('no server answers')
      throw error
    }
  }
}
