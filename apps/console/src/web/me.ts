import type { KeyHolder } from '@muster/protocol'
import { useState } from 'preact/hooks'
import { request } from './api.ts'
import { useRefresh } from './use-refresh.ts'

const REFRESH_MS = 30_000

/** Whose key this tab has, and what it may do, which others change; undefined until the server has told. */
export function useMe(key: string | null): KeyHolder | undefined {
  const [known, setKnown] = useState<{ key: string; me: KeyHolder }>()
  const read = async (signal: AbortSignal) => {
    if (key === null) return
    const me = await request<KeyHolder>('/v1/me', { signal }).catch(() => undefined) // The page says what is wrong.
    if (me && !signal.aborted) setKnown({ key, me })
  }
  useRefresh(read, REFRESH_MS, [key])
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
