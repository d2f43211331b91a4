import type { Erased, KeyHolder, Run, RunEvent } from '@muster/protocol'
import type { VNode } from 'preact'
import { useEffect, useMemo, useState } from 'preact/hooks'
import { ApiError, follow, request, serverNow } from './api.ts'
import { Approval, isForPerson } from './approvals-page.ts'
import { Content } from './content.ts'
import { count, duration, money } from './format.ts'
import { html } from './html.ts'
import { JournalTable } from './journal-table.ts'
import { LedgerState } from './ledger-state.ts'
import { hasNoRole } from './me.ts'
import { Copy, Fact, Gone, Labels, Loading, Problem, Status, Time } from './parts.ts'
import { RecordsOf } from './record-book.ts'
import { linkTo } from './route.ts'
import { spansOf } from './spans.ts'
import { StepPanel } from './step-panel.ts'
import { visible } from './text.ts'
import type { Verification } from './verify.ts'
import { Verify } from './verify-button.ts'
import { Waterfall } from './waterfall.ts'

/** Events come one by one and are shown together, so that a long journal is drawn once, ms. */
const LAG_MS = 400
/** The run itself, which a server makes of its whole journal, is asked for so often at most while it goes on, ms. */
const READ_MS = 3000

/** One run: what it is, what it did step by step, and whether its record is whole. */
export function RunPage({
  id,
  entry,
  me,
}: {
  id: string
  entry: number | undefined
  me: KeyHolder | undefined
}): VNode {
  const { run, events, cut, error } = useRun(id)
  const [verification, setVerification] = useState<Verification>()
  const spans = useMemo(() => spansOf(events), [events])
  const ended = events.at(-1)?.entry.type === 'run.ended'
  const now = useNow(!ended && spans.some((span) => span.to === undefined))
  if (!run)
    return error === undefined
      ? html`<${Loading} what="the run" />`
      : html`<${Problem} error=${error} /><p><a href="#/runs">All runs</a></p>`
  const end = ended ? (events.at(-1)?.entry.at ?? now) : Math.max(now, events.at(-1)?.entry.at ?? 0)
  // Any of its entries names a step.
  const chosen = spans.find(({ seq, events }) => seq === entry || events.some((event) => event.seq === entry))
  const asked = run.waiting.filter(isForPerson)
  return html`
    <${Header} run=${run} end=${end} cut=${cut && !ended}>
      <${Verify} id=${id} events=${events} onResult=${setVerification} />
    <//>
    <${LedgerState} id=${id} events=${events} verification=${verification} />
    <${Problem} error=${error} />
    ${run.error && html`<div class="problem"><strong>${run.error.code}</strong> ${visible(run.error.message)}</div>`}
    ${run.heldUp && html`<div class="problem"><strong>held up</strong> ${visible(run.heldUp.message)}</div>`}
    ${run.erased && html`<p class="notice">${erasedText(run.erased)}</p>`}
    ${run.paused && html`<p class="notice"><b>Paused</b> <${Time} at=${run.paused.at} /> by ${visible(run.paused.by.user)}: it goes on when somebody resumes it.</p>`}
    ${run.stopped?.map(({ name, by, at, reason }) => html`<div class="problem"><strong>stopped</strong> ${visible(`${name}, by ${by}`)} since <${Time} at=${at} />${reason !== undefined && html`: ${visible(reason)}`}</div>`)}
    ${asked.map((waiting) => html`<${Approval} key=${`${waiting.step} ${waiting.digest}`} run=${run} waiting=${waiting} me=${me} />`)}
    <div class=${chosen ? 'trace with-panel' : 'trace'}>
      <${Waterfall} run=${id} spans=${spans} from=${run.createdAt} to=${end} chosen=${chosen?.seq} ended=${ended} />
      ${chosen && html`<${StepPanel} key=${chosen.seq} run=${id} span=${chosen} spans=${spans} />`}
    </div>
    ${run.input !== undefined && html`<${Fold} title="Input"><${Content} value=${run.input} /><//>`}
    ${run.input === undefined && isErased(events[0]) && html`<${Fold} title="Input" open><${Gone} /><//>`}
    ${run.output === undefined && ended && isErased(events.at(-1)) && html`<${Fold} title="Output" open><${Gone} /><//>`}
    ${run.output !== undefined && html`<${Fold} title="Output" open><${Content} value=${run.output} /><//>`}
    <${Fold} title=${`Journal, ${count(events.length, 'entry', 'entries')}`}>
      <${JournalTable} events=${events} findings=${verification?.findings ?? []} />
    <//>
    ${!hasNoRole(me) && html`<${Fold} title="Records about it"><${RecordsOf} run=${id} /><//>`}
  `
}

function isErased(event: RunEvent | undefined): boolean {
  return event?.entry.content !== undefined && event.content === undefined
}

/** Why content is not there any more. */
function erasedText({ at, by, id = '', user }: Erased): VNode {
  if (by === 'retention')
    return html`<b>Content expired</b> <${Time} at=${at} />, by rule ${visible(id)} of retention. Its digests stay in the record, and the chain holds without it.`
  return html`<b>Content erased</b>, asked for <${Time} at=${at} />${user !== undefined && html` by ${visible(user)}`} (erasure <${Copy} text=${id} short=${id.slice(-12)} />). Its digests stay in the record, and the chain holds without it.`
}

function Header({ run, end, cut, children }: { run: Run; end: number; cut: boolean; children: unknown }): VNode {
  const { usage } = run
  return html`
    <div class="title run-title">
      <div>
        <h1>${visible(run.name)}<span class="dim">@${visible(run.version)}</span> <${Status} status=${run.status} /></h1>
        <${Copy} text=${run.id} />
      </div>
      <span class="actions">${cut && html`<span class="note" role="status">connection lost, trying again…</span>`}${children}</span>
    </div>
    <dl class="facts">
      ${run.parent && html`<${Fact} name="Child of"><a href=${linkTo('runs', run.parent.run)}>${run.parent.run.slice(-12)}</a> <span class="dim">${visible(run.parent.step)}</span><//>`}
      ${run.origin && html`<${Fact} name="Forked from"><a href=${linkTo('runs', run.origin.run)}>${run.origin.run.slice(-12)}</a> <span class="dim">${visible(run.origin.step ?? 'its start')}</span><//>`}
      <${Fact} name="Begun by">${visible(run.by.user)} <span class="dim">${run.by.service && 'a service, '}${run.by.team !== undefined && html`team ${visible(run.by.team)}, `}key ${visible(run.by.key)}</span><//>
      ${run.by.hands && html`<${Fact} name="Others who could have its key">${visible(run.by.hands.join(', '))}<//>`}
      <${Fact} name="Created"><${Time} at=${run.createdAt} /><//>
      <${Fact} name=${run.endedAt === undefined ? 'So far' : 'Took'}>${duration((run.endedAt ?? end) - run.createdAt)}<//>
      <${Fact} name="Cost">${money(run.costUsd) || '$0'}<//>
      <${Fact} name="Tokens">
        ${usage.inputTokens.toLocaleString()} in${usage.cachedTokens > 0 && ` (${usage.cachedTokens.toLocaleString()} cached)`}, ${usage.outputTokens.toLocaleString()} out
      <//>
      <${Fact} name="Steps">${run.steps.toLocaleString()}<//>
      <${Fact} name="Activations"><span title="how often a worker took the run up">${run.epoch}</span><//>
      ${run.session !== undefined && html`<${Fact} name="Session">${visible(run.session)}<//>`}
      ${run.subject !== undefined && html`<${Fact} name="Subject">${visible(run.subject)}<//>`}
      ${run.labels.length > 0 && html`<${Fact} name="Labels"><${Labels} labels=${run.labels} /><//>`}
    </dl>
  `
}

/** What is folded up is drawn, and asked for, when it is first opened. */
function Fold({ title, open = false, children }: { title: string; open?: boolean; children: unknown }): VNode {
  const [seen, setSeen] = useState(open)
  const toggle = (event: { currentTarget: HTMLDetailsElement }) => event.currentTarget.open && setSeen(true)
  return html`<details class="fold card" open=${open} onToggle=${toggle}><summary>${title}</summary>${seen && children}</details>`
}

/** A run and its events, live until it has ended. */
function useRun(id: string): { run: Run | undefined; events: RunEvent[]; cut: boolean; error: unknown } {
  const [run, setRun] = useState<Run>()
  const [events, setEvents] = useState<RunEvent[]>([])
  const [cut, setCut] = useState(false)
  const [error, setError] = useState<unknown>()
  useEffect(() => {
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    let reading: ReturnType<typeof setTimeout> | undefined
    let readAt = 0
    let pauseMs = READ_MS
    let reads = 0
    let arrived: RunEvent[] = []
    const read = async () => {
      clearTimeout(reading)
      readAt = Date.now()
      pauseMs = READ_MS
      const mine = ++reads
      try {
        const found = await request<Run>(`/v1/runs/${encodeURIComponent(id)}`, { signal: stop.signal })
        // What was asked for before may come behind, and is old.
        if (mine !== reads) return
        setRun(found)
        setError(undefined)
      } catch (error) {
        if (!stop.signal.aborted && mine === reads) setError(error)
      }
    }
    const show = () => {
      timer = undefined
      const batch = arrived
      arrived = []
      setEvents((known) => [...known, ...batch])
      // Steps that come and go change little of it; anything else, what it says of itself.
      const isPlain = batch.every(({ entry: { type } }) => type === 'step.intent' || type === 'step.ended')
      pauseMs = Math.min(pauseMs, batch.at(-1)?.entry.type === 'run.ended' ? 0 : isPlain ? READ_MS : LAG_MS * 3)
      clearTimeout(reading)
      reading = setTimeout(read, Math.max(0, readAt + pauseMs - Date.now()))
    }
    const listen = async () => {
      for await (const event of follow(id, stop.signal, setCut)) {
        arrived.push(event)
        timer ??= setTimeout(show, LAG_MS)
      }
    }
    read()
    listen().catch((error) => {
      if (!(error instanceof ApiError && error.status === 401)) setError(error)
    })
    return () => {
      stop.abort()
      clearTimeout(timer)
      clearTimeout(reading)
    }
  }, [id])
  return { run, events, cut, error }
}

/** The server's time, moving while something moves. */
function useNow(moving: boolean): number {
  const [now, setNow] = useState(serverNow)
  useEffect(() => {
    if (!moving) return
    const timer = setInterval(() => setNow(serverNow()), 500)
    return () => clearInterval(timer)
  }, [moving])
  return now
}
