import { render, type VNode } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { session } from './api.ts'
import { ApprovalsPage } from './approvals-page.ts'
import { AuditPage } from './audit-page.ts'
import { html } from './html.ts'
import { replaceRoute, useRoute } from './route.ts'
import { RunPage } from './run-page.ts'
import { RunsPage } from './runs-page.ts'
import { SignIn } from './sign-in.ts'

/** A key in the fragment signs in at once. Fragments are not sent to servers; here it also leaves the address bar. */
function takeKey(): void {
  const [, key] = /^#key=(.+)$/.exec(location.hash) ?? []
  if (key === undefined) return
  replaceRoute('#/runs')
  session.signIn(decodeURIComponent(key))
}

const titles: Record<string, string> = { approvals: 'Approvals', audit: 'Audit' }

function App(): VNode {
  const [key, setKey] = useState(session.key)
  const { path, query } = useRoute()
  useEffect(() => {
    const read = () => setKey(session.key)
    addEventListener('muster-session', read)
    addEventListener('hashchange', takeKey)
    return () => {
      removeEventListener('muster-session', read)
      removeEventListener('hashchange', takeKey)
    }
  }, [])
  const [page = 'runs', id, entry] = path
  useEffect(() => {
    const what = id === undefined ? (titles[page] ?? 'Runs') : `Run ${id.slice(-12)}`
    document.title = `${key === null ? 'Sign in' : what} · Muster`
  }, [page, id, key])
  if (key === null) return html`<${SignIn} />`
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <header class="top">
      <a class="brand" href="#/runs"><img src="/console/icon.svg" alt="" width="22" height="22" />Muster</a>
      <nav aria-label="Pages">
        <a class="nav-link" href="#/runs" aria-current=${page === 'runs' ? 'page' : undefined}>Runs</a>
        <a class="nav-link" href="#/approvals" aria-current=${page === 'approvals' ? 'page' : undefined}>Approvals</a>
        <a class="nav-link" href="#/audit" aria-current=${page === 'audit' ? 'page' : undefined}>Audit</a>
        <a class="nav-link" href="/reference">API</a>
      </nav>
      <button type="button" class="quiet" onClick=${session.signOut}>Sign out</button>
    </header>
    <main id="main" tabindex="-1">
      ${
        page === 'approvals'
          ? html`<${ApprovalsPage} />`
          : page === 'audit'
            ? html`<${AuditPage} />`
            : id === undefined
              ? html`<${RunsPage} status=${query.get('status') ?? ''} name=${query.get('name') ?? ''} />`
              : html`<${RunPage} key=${id} id=${id} entry=${Number(entry) || undefined} />`
      }
    </main>
  `
}

/** The address belongs to the pages, so the link moves the focus itself. */
function skip(event: Event): void {
  event.preventDefault()
  document.getElementById('main')?.focus()
}

takeKey()
render(html`<${App} />`, document.body)
