import type { KeyHolder } from '@muster/protocol'
import { useEffect, useState } from 'preact/hooks'
import { request } from './api.ts'

/** Whose key this tab has; undefined until the server has told. */
export function useMe(key: string | null): KeyHolder | undefined {
  const [known, setKnown] = useState<{ key: string; me: KeyHolder }>()
  useEffect(() => {
    if (key === null) return
    const stop = new AbortController()
    request<KeyHolder>('/v1/me', { signal: stop.signal }).then(
      (me) => setKnown({ key, me }),
      () => {}, // The page says what is wrong.
    )
    return () => stop.abort()
  }, [key])
  return known?.key === key ? known?.me : undefined
}

/** Whether it is told of its own user's runs alone. */
export function hasNoRole(me: KeyHolder | undefined): me is KeyHolder {
  return me?.roles.length === 0
}

/** Whether somebody has a role, or may have it: the server decides, and tells. */
export function mayHave(me: KeyHolder | undefined, role: string): boolean {
  return !me || me.roles.includes(role) || me.roles.includes('*')
}
