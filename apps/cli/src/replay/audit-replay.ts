import { basename } from 'node:path'
import { loadPolicies, type PolicySet } from '@muster/governance'
import { type AuditRecord, publishedPolicies, RECORD_BOOK, type RunEvent, storedEntry } from '@muster/protocol'
import { filesIn, jsonOf, linesOf, textOf } from '../audit/export-files.ts'
import { type Conduct, tell } from './conduct.ts'
import { Family } from './family.ts'
import { type Fork, forkOf, strangeCopies } from './fork-copies.ts'
import { HoldConduct } from './hold-conduct.ts'
import { KeptAnswers } from './kept-answers.ts'
import { PoliciesUsed, recordOf } from './policies-used.ts'
import { definitionsOf, RunConduct } from './run-conduct.ts'
import { StopConduct } from './stop-conduct.ts'
import { eventOf } from './stored-journal.ts'
import { TenantBudgets } from './tenant-budgets.ts'

/**
 * Checks what runs did by an export alone: each decision is made again by cedar-wasm under the policies that are recorded,
 * effects are compared with what allowed them, money, budgets and labels are worked out anew. The bytes are for `verifyExport`.
 */
export function replayExport(folder: string): Conduct {
  const conduct: Conduct = { decisions: 0, same: 0, effects: 0, breaches: [], notCheckable: [] }
  const sets = readSets(folder, conduct)
  const family = new Family()
  const forks: Fork[] = []
  const used = new PoliciesUsed()
  const stops = new StopConduct()
  const holds = new HoldConduct()
  const answers = new KeptAnswers()
  let hasExpired = false
  const manifest = manifestIn(folder)
  const budgets = readBudgets(folder, manifest, (record) => {
    used.record(record)
    stops.record(record)
    holds.record(record)
    hasExpired ||= record.action === 'retention.expired'
  })
  for (const file of filesIn(folder, 'runs').filter((file) => file.endsWith('.jsonl'))) {
    const run = basename(file, '.jsonl')
    const about = new RunConduct(run, { sets, used, stops }, conduct)
    const events = readEvents(file, about)
    for (const event of events)
      about.unlessMalformed(event.seq, () => {
        about.take(event)
        family.take(run, event)
        budgets.take(run, event)
        holds.take(run, event)
        answers.take(run, event, (created) => definitionsOf(created, sets))
      })
    about.unlessMalformed(1, () => about.decideAgain(events))
    const fork = forkOf(run, events)
    if (fork) forks.push(fork)
  }
  for (const fork of forks)
    for (const strange of strangeCopies(fork, folder)) tell(conduct, 'copied', { run: fork.run, ...strange })
  for (const { code, ...odd } of family.odd()) tell(conduct, code, odd)
  for (const { seq, message } of holds.findings())
    tell(conduct, 'control', { message: `record ${seq} of the book: ${message}` })
  const lacking = isOfTenant(manifest) && !hasExpired ? undefined : 'not all that was answered is in the export'
  for (const found of answers.findings(lacking)) tell(conduct, 'cached', found)
  for (const { unknown, message, ...where } of budgets.findings())
    if (unknown) conduct.notCheckable.push({ ...where, why: message })
    else conduct.breaches.push({ code: 'budget', ...where, message })
  return conduct
}

/** Undefined where it cannot be read. */
function manifestIn(folder: string): unknown {
  const file = filesIn(folder).find((file) => basename(file) === 'manifest.json')
  return file && jsonOf(textOf(file) ?? '')
}

/** Whether all runs of the tenant are there. */
function isOfTenant(manifest: unknown): boolean {
  const { scope, missing } = Object(manifest)
  return scope?.kind === 'tenant' && Array.isArray(missing) && missing.length === 0
}

/** The budgets that the manifest and the record book tell of; and whatever else the book tells of. */
function readBudgets(folder: string, manifest: unknown, told: (record: AuditRecord) => void): TenantBudgets {
  const book = filesIn(folder).find((file) => basename(file) === `${RECORD_BOOK}.jsonl`)
  const budgets = new TenantBudgets(manifest)
  for (const line of book ? linesOf(book) : []) {
    const { data } = storedEntry.safeParse(jsonOf(line ?? ''))
    if (!data) continue
    budgets.record(data.bytes)
    const record = recordOf(jsonOf(data.bytes))
    if (record) told(record)
  }
  return budgets
}

/** The policy sets, each only where it is what its hash says. */
function readSets(folder: string, { breaches }: Conduct): Map<string, PolicySet> {
  const sets = new Map<string, PolicySet>()
  for (const file of filesIn(folder, 'policies')) {
    const [name, hash] = [basename(file), basename(file, '.json')]
    try {
      const { sources, app } = publishedPolicies.parse(JSON.parse(textOf(file) ?? ''))
      const set = loadPolicies(sources, app, { by: 'cedar-wasm' })
      if (set.hash === hash) sets.set(hash, set)
      else
        breaches.push({ code: 'policy', message: `policies/${name} is not the set ${hash}: its hash is ${set.hash}` })
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      breaches.push({ code: 'policy', message: `policies/${name} cannot be loaded: ${why}` })
    }
  }
  return sets
}

function readEvents(file: string, about: RunConduct): RunEvent[] {
  const events: RunEvent[] = []
  let place = 0
  for (const line of linesOf(file)) {
    place++
    if (line === '') continue
    const { data } = storedEntry.safeParse(jsonOf(line ?? ''))
    const event = data && eventOf(data)
    if (event) events.push(event)
    else about.notCheckable(place, 'it is no entry that can be read')
  }
  return events
}
