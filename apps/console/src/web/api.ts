import type { Issue, Problem, RunEvent, StoredEntry } from '@muster/protocol'
import { lines } from './lines.ts'

const KEY = 'muster.key'

/** What the server says went wrong, and what to do. */
export class ApiError extends Error {
  readonly status: number
  readonly hint: string
  readonly code: string
  /** What is wrong with what was sent, and where in it. */
  readonly issues: readonly Issue[]

  constructor(status: number, detail: string, hint: string, code = '', issues: readonly Issue[] = []) {
    super(detail)
    this.status = status
    this.hint = hint
    this.code = code
    this.issues = issues
  }
}

/** The API key lives as long as the tab, and only in it. */
export const session = {
  /** Why it ended, where nobody has ended it. */
  why: undefined as unknown,
  get key(): string | null {
    return sessionStorage.getItem(KEY)
  },
  signIn(key: string): void {
    session.why = undefined
    sessionStorage.setItem(KEY, key)
    dispatchEvent(new Event('muster-session'))
  },
  signOut(why?: ApiError): void {
    session.why = why
    sessionStorage.removeItem(KEY)
    dispatchEvent(new Event('muster-session'))
  },
}

interface Options {
  method?: string
  body?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal
  /** Instead of the session's. */
  key?: string
}

let clockOffsetMs = 0

/** The server's time, to the second: bars of what still runs must not depend on this machine's clock. */
export function serverNow(): number {
  return Date.now() - clockOffsetMs
}

/** @throws ApiError from the server's problem document */
async function open(
  path: string,
  { method = 'GET', body, headers = {}, signal, key }: Options = {},
): Promise<Response> {
  const used = key ?? session.key
  const response = await fetch(path, {
    method,
    headers: {
      authorization: `Bearer ${used ?? ''}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal ? { signal } : {}),
    cache: 'no-store',
    redirect: 'error',
  }).catch((error) => {
    // Each browser has words of its own for it.
    throw signal?.aborted ? error : new Error('The server does not answer.', { cause: error })
  })
  const date = Date.parse(response.headers.get('date') ?? '')
  // The header is cut to the second, so an offset below two seconds is none.
  if (!Number.isNaN(date)) clockOffsetMs = Math.abs(Date.now() - date) < 2000 ? 0 : Date.now() - date
  if (response.ok) return response
  const error = await problem(response)
  // A key that was good and is no longer: back to the sign-in, unless another has taken its place.
  if (error.status === 401 && key === undefined && used !== null && used === session.key) session.signOut(error)
  throw error
}

export async function request<T>(path: string, options?: Options): Promise<T> {
  const response = await open(path, options)
  if (response.status === 204) return undefined as T // of callers that await nothing
  // The server's answers follow its OpenAPI document, from which the callers' types come.
  return (await response.json()) as T
}

/** A run's journal as it is stored, and how the run's own record says that it ends. */
export async function journal(
  id: string,
): Promise<{ head: string; entries: number; read: AsyncGenerator<StoredEntry> }> {
  const response = await open(`/v1/runs/${encodeURIComponent(id)}/journal`)
  const read = async function* () {
    for await (const line of lines(response)) if (line !== '') yield JSON.parse(line)
  }
  return {
    head: response.headers.get('muster-head') ?? '',
    entries: Number(response.headers.get('muster-entries')),
    read: read(),
  }
}

/**
 * A run's events as they become durable, until it has ended. EventSource cannot send a key, so this reads the
 * stream itself; after a cut it goes on behind the last event that it saw.
 */
export async function* follow(
  id: string,
  signal: AbortSignal,
  onCut: (cut: boolean) => void,
): AsyncGenerator<RunEvent> {
  let after = 0
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      const headers = { accept: 'text/event-stream', 'last-event-id': String(after) }
      const response = await open(`/v1/runs/${encodeURIComponent(id)}/events`, { headers, signal })
      onCut(false)
      let name = ''
      for await (const line of lines(response)) {
        if (line.startsWith('event: ')) name = line.slice(7)
        if (!line.startsWith('data: ')) continue
        if (name === 'end') return
        const event: RunEvent = JSON.parse(line.slice(6))
        failures = 0
        after = event.seq
        yield event
        if (event.entry.type === 'run.ended') return
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof ApiError && error.status < 500) throw error
    }
    onCut(true)
    await new Promise((resolve) => setTimeout(resolve, Math.min(250 * 2 ** failures, 5000)))
  }
}

async function problem(response: Response): Promise<ApiError> {
  const text = await response.text()
  try {
    const { detail, title, hint, code, errors }: Partial<Problem> = JSON.parse(text)
    if (detail ?? title) return new ApiError(response.status, detail || title || '', hint ?? '', code, errors)
  } catch {
    // Not a problem document: a proxy's page, say.
  }
  const hint = 'It is no answer of Muster, but of something before it. Try again, or ask who runs it.'
  return new ApiError(response.status, `The answer was ${response.status}.`, hint)
}
