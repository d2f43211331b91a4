import { useEffect, useState } from 'preact/hooks'

/**
 * Which page the address names: `#/runs?status=…`, `#/runs/<run>`, `#/runs/<run>/<entry>`, `#/approvals`,
 * `#/audit?tool=…`, `#/costs?by=…`, `#/keys?state=…`, `#/keys/<key>`.
 */
export interface Route {
  path: string[]
  query: URLSearchParams
}

function readRoute(): Route {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?')
  return { path: path.split('/').filter(Boolean).map(decode), query: new URLSearchParams(query) }
}

export function useRoute(): Route {
  const [route, setRoute] = useState(readRoute)
  useEffect(() => {
    const read = () => setRoute(readRoute())
    addEventListener('hashchange', read)
    return () => removeEventListener('hashchange', read)
  }, [])
  return route
}

export function linkTo(...path: (string | number)[]): string {
  // A name may have half a character in it, for which there is no code in an address.
  return `#/${path.map((part) => encodeURIComponent(String(part).toWellFormed())).join('/')}`
}

/** Goes to another address, as a link does. */
export function openRoute(hash: string): void {
  location.hash = hash
}

/** Changes the address without a new place in the history. */
export function replaceRoute(hash: string, query = new URLSearchParams()): void {
  history.replaceState(null, '', query.size > 0 ? `${hash}?${query}` : hash)
  dispatchEvent(new HashChangeEvent('hashchange'))
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
