/**
 * An address that may be shown: without user, password and query, which all may hold secrets.
 *
 * Works on what is no URL as well (`host:port`, a socket's path), because a mistyped REDIS_URL still has its password in it.
 */
export function shownAddress(address: string): string {
  const withoutQuery = address.replace(/[?#].*$/s, '')
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+.-]*:\/\/)?(.*)$/is.exec(withoutQuery) ?? []
  // The last @ ends the credentials: a password that was not percent-encoded may hold @ itself, and ? or # as well,
  // so what is left of an address whose @ came behind a ? is not shown at all.
  const lostAt = address.includes('@') && !withoutQuery.includes('@')
  return lostAt ? `${scheme}(hidden)` : scheme + rest.slice(rest.lastIndexOf('@') + 1)
}
