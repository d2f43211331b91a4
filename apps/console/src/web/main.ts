import type { KeyHolder } from '@muster/protocol'
import { render, type VNode } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { session } from './api.ts'
import { ApprovalsPage } from './approvals-page.ts'
import { AuditPage } from './audit-page.ts'
import { CostsPage } from './costs-page.ts'
import { html } from './html.ts'
import { KeyPage } from './key-page.ts'
import { KeysPage } from './keys-page.ts'
import { hasNoRole, useMe } from './me.ts'
import { NoRole } from './parts.ts'
import { linkTo, type Route, replaceRoute, useRoute } from './route.ts'
import { RunPage } from './run-page.ts'
import { RunsPage } from './runs-page.ts'
import { SignIn } from './sign-in.ts'
import { visible } from './text.ts'

/** A key in the fragment signs in at once. Fragments are not sent to servers; here it also leaves the address bar. */
function takeKey(): void {
  const [, key] = /^#key=(.+)$/.exec(location.hash) ?? []
  if (key === undefined) return
  replaceRoute('#/runs')
  session.signIn(decodeURIComponent(key))
}

const pages = [
  ['runs', 'Runs'],
  ['approvals', 'Approvals'],
  ['audit', 'Audit'],
  ['costs', 'Costs'],
  ['keys', 'Keys'],
] as const
const titles: Record<string, string> = Object.fromEntries(pages)
/** Pages of which a key without a role is shown nothing, and the roles that let in. */
const LETS: ReadonlyMap<string, readonly string[]> = new Map([
  ['approvals', ['operator']],
  ['keys', ['admin', 'auditor']],
])

function App(): VNode {
  const [key, setKey] = useState(session.key)
  const route = useRoute()
  const me = useMe(key)
  useEffect(() => {
    const read = () => setKey(session.key)
    addEventListener('muster-session', read)
    addEventListener('hashchange', takeKey)
    return () => {
      removeEventListener('muster-session', read)
      removeEventListener('hashchange', takeKey)
    }
  }, [])
  const [page = 'runs', id] = route.path
  useEffect(() => {
    document.title = `${key === null ? 'Sign in' : titleOf(page, id)} · Muster`
  }, [page, id, key])
  if (key === null) return html`<${SignIn} />`
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <header class="top">
      <a class="brand" href="#/runs"><img src="/console/icon.svg" alt="Muster" width="22" height="22" /><span aria-hidden="true">Muster</span></a>
      <nav aria-label="Pages">
        ${pages.map(([name, title]) => html`<a class="nav-link" key=${name} href=${linkTo(name)} aria-current=${page === name ? 'page' : undefined}>${title}</a>`)}
        <a class="nav-link" href="/reference">API</a>
      </nav>
      ${me && html`<span class="me" title=${`key ${me.key} of the tenant ${me.tenant}`}><b>${visible(me.user)}</b> <span class="dim">${visible(me.tenant)}</span></span>`}
      <button type="button" class="quiet" onClick=${() => session.signOut()}>Sign out</button>
    </header>
    <main id="main" tabindex="-1"><${Page} route=${route} me=${me} /></main>
  `
}

function Page({ route: { path, query }, me }: { route: Route; me: KeyHolder | undefined }): VNode {
  const [page = 'runs', id, entry] = path
  const lets = hasNoRole(me) ? LETS.get(page) : undefined
  if (lets) return html`<div class="title"><h1>${titles[page]}</h1></div><${NoRole} me=${me} lets=${lets} />`
  if (page === 'approvals') return html`<${ApprovalsPage} me=${me} />`
  if (page === 'audit') return html`<${AuditPage} me=${me} query=${query} />`
  if (page === 'costs') return html`<${CostsPage} me=${me} query=${query} />`
  if (page === 'keys')
    return id === undefined
      ? html`<${KeysPage} me=${me} query=${query} />`
      : html`<${KeyPage} key=${id} id=${id} me=${me} />`
  if (page !== 'runs') return html`<p class="empty">There is no such page. <a href="#/runs">Runs</a></p>`
  if (id === undefined) return html`<${RunsPage} status=${query.get('status') ?? ''} name=${query.get('name') ?? ''} />`
  return html`<${RunPage} key=${id} id=${id} entry=${Number(entry) || undefined} me=${me} />`
}

function titleOf(page: string, id: string | undefined): string {
  const title = titles[page] ?? 'No such page'
  if (id === undefined || (page !== 'keys' && page !== 'runs')) return title
  return page === 'keys' ? `Key ${id}` : `Run ${id.slice(-12)}`
}

/** The address belongs to the pages, so the link moves the focus itself. */
function skip(event: Event): void {
  event.preventDefault()
  document.getElementById('main')?.focus()
}

takeKey()
render(html`<${App} />`, document.body)
