import type { KeyHolder } from '@muster/protocol'
import type { VNode } from 'preact'
import { html } from './html.ts'
import { LedgerHeadCard } from './ledger-head.ts'
import { hasNoRole } from './me.ts'
import { NoRole } from './parts.ts'
import { RecordBook } from './record-book.ts'
import { StepSearch } from './step-search.ts'

/** For who audits: the head of the ledger, steps of all runs, and what was done besides runs. */
export function AuditPage({ me, query }: { me: KeyHolder | undefined; query: URLSearchParams }): VNode {
  return html`
    <div class="title"><h1>Audit</h1></div>
    <section class="audit" aria-labelledby="ledger"><h2 id="ledger">Ledger</h2><${LedgerHeadCard} /></section>
    ${hasNoRole(me) ? html`<${NoRole} me=${me} lets=${['auditor']} />` : html`<${Searches} query=${query} />`}
  `
}

function Searches({ query }: { query: URLSearchParams }): VNode {
  return html`
    <section class="audit" aria-labelledby="steps"><h2 id="steps">Steps</h2><${StepSearch} asked=${query} /></section>
    <section class="audit" aria-labelledby="records"><h2 id="records">Record book</h2><${RecordBook} asked=${query} /></section>
  `
}
