import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { request, session } from './api.ts'
import { html } from './html.ts'
import { Problem } from './parts.ts'

export function SignIn(): VNode {
  const [error, setError] = useState<unknown>(session.why)
  const [busy, setBusy] = useState(false)
  const submit = async (event: SubmitEvent) => {
    event.preventDefault()
    const key = String(new FormData(event.target as HTMLFormElement).get('key')).trim()
    setBusy(true)
    try {
      await request('/v1/me', { key })
      session.signIn(key)
    } catch (error) {
      setError(error)
      setBusy(false)
    }
  }
  return html`
    <main class="sign-in">
      <form class="card" onSubmit=${submit}>
        <h1><img src="/console/icon.svg" alt="" width="32" height="32" />Muster</h1>
        <label for="key">API key</label>
        <input id="key" name="key" type="password" autocomplete="off" spellcheck=${false} required autofocus />
        <p class="note">It is kept in this tab until you close it. In development it is in <code>.muster/dev-key</code>.</p>
        <${Problem} error=${error} />
        <button type="submit" class="primary" disabled=${busy}>Sign in</button>
      </form>
    </main>
  `
}
