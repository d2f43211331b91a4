import { lookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { Agent } from 'undici'

/**
 * Whether an address is one of the public internet. All else (loopback, private, link-local, the metadata services of
 * clouds) is inside, where a tenant must not reach through us.
 */
function isPublic(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.process(address).range() === 'unicast'
}

/** What keeps requests from being sent to an address at all; undefined for nothing. `anywhere` allows http and private addresses. */
export function problemOfUrl(url: string, anywhere: boolean): string | undefined {
  const { protocol, hostname, username, password } = new URL(url)
  if (username !== '' || password !== '') return 'an address with a password in it is not allowed'
  if (anywhere) return undefined
  if (protocol !== 'https:') return 'only https is allowed'
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  if (isIP(host) !== 0 && !isPublic(host)) return 'only public addresses are allowed'
  return undefined
}

/** Connections that end at public addresses only: what a name stands for is looked at when it is connected to. */
export function publicAgent(): Agent {
  const guarded: LookupFunction = (hostname, options, done) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) {
        done(error, '')
        return
      }
      const allowed = addresses.filter(({ address }) => isPublic(address))
      if (allowed.length === 0) done(new Error(`${hostname} is no public address`), '')
      else if (options.all) done(null, allowed)
      else done(null, allowed[0]?.address ?? '', allowed[0]?.family)
    })
  }
  return new Agent({ connect: { lookup: guarded } })
}
