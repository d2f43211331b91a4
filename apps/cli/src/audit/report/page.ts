import { createHash } from 'node:crypto'
import type { Decision, RedactCounts } from '@muster/protocol'
import { dateOf } from '../../output.ts'
import { type Answer, type Attempt, type Held, heldOf } from './attempts.ts'
import type { Evidence } from './evidence.ts'
import { type Html, html, type Part } from './html.ts'
import { mappedControls } from './mapping.ts'
import { style } from './style.ts'

/** Characters of an input or output that are shown; the digest is of all of it. */
const SHOWN_MAX = 4000

/** The report as one HTML file: no script, nothing from elsewhere, and a policy by which a browser would load none. */
export function reportPage(evidence: Evidence): string {
  const { run } = evidence
  const hash = createHash('sha256').update(style).digest('base64')
  const policy = `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
${html`<meta http-equiv="Content-Security-Policy" content="${policy}">`}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
${html`<title>Evidence of run ${run.id}</title>`}
<style>${style}</style>
</head>
<body>
${html`
<h1>Evidence of run <code>${run.id}</code></h1>
<p>${run.kind} ${run.name}@${run.version}, ${run.status}. Tenant ${run.tenant}.</p>
<p class="quiet">Made ${dateOf(evidence.at)} from the run's journal by Muster ${evidence.muster}. Times are UTC.</p>
${proofOf(evidence)}
<h2>Who asked, and for what</h2>
${requestOf(evidence)}
<h2>What it was given, and what it gave</h2>
${contentOf(evidence)}
<h2>Answers by people</h2>
${answersOf(evidence)}
<h2>What was done to the run</h2>
${eventsOf(evidence)}
<h2>Cost</h2>
${costOf(evidence)}
<h2>What was redacted</h2>
${redactionOf(evidence)}
<h2>Steps</h2>
${evidence.attempts.length === 0 ? html`<p>None was taken.</p>` : evidence.attempts.map((one) => stepOf(one, evidence))}
<h2 class="page">What this run shows of laws and standards</h2>
${mappingOf(evidence)}
<h2 class="page">The journal's entries</h2>
<p class="quiet">Each hash is SHA-256 of the one before it and the entry's bytes.</p>
${entriesOf(evidence)}`}
</body>
</html>
`
}

type Fact = readonly [name: string, value: Part]

function facts(rows: readonly (Fact | undefined)[]): Html {
  const shown = rows.filter((row) => row !== undefined && row[1] !== undefined) as Fact[] // those that have a value
  return html`<table class="facts"><tbody>${shown.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody></table>`
}

function table(head: readonly string[], rows: readonly (readonly Part[])[]): Html {
  return html`<table><thead><tr>${head.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead><tbody>${rows.map(
    (row) => html`<tr>${row.map((cell) => html`<td>${cell}</td>`)}</tr>`,
  )}</tbody></table>`
}

function listed(values: readonly string[]): string | undefined {
  return values.length === 0 ? undefined : values.join(', ')
}

function proofOf({ verification, receipt }: Evidence): Html {
  const { ok, entries, erased, head, findings } = verification
  const chain = ok
    ? html`<div class="verdict"><p><strong>The journal is whole.</strong> ${entries} entries, their chain of hashes unbroken, computed where this report was made.</p>
<p>Head <code>${head}</code>${erased === 0 ? '' : `. Content of ${erased} entries is not there any more: it was erased, and the chain holds without it`}.</p></div>`
    : html`<div class="verdict bad"><p><strong>The journal was altered.</strong> What follows is what stands there now, not what happened.</p>
<ul>${findings.map(({ seq, message }) => html`<li>entry ${seq}: ${message}</li>`)}</ul></div>`
  return html`${chain}${receiptOf(receipt)}`
}

function receiptOf(receipt: Evidence['receipt']): Html {
  if (receipt.state === 'none')
    return html`<div class="verdict open"><p><strong>No receipt of the ledger.</strong> ${receipt.why} Who could rewrite the stores could have rewritten this journal with new hashes.</p></div>`
  const { leaf, size, signed, trusted, receipt: proof } = receipt
  if (receipt.state === 'fails')
    return html`<div class="verdict bad"><p><strong>The receipt of the ledger does not hold.</strong> ${receipt.why}</p></div>`
  return html`<div class="verdict"><p><strong>The ledger has it.</strong> Leaf ${proof.index} of ${size} of <code>${proof.origin}</code>: ${leaf.seq} entries, ${leaf.state}, entered ${dateOf(leaf.at)}.</p>
<p>${trusted ? 'Checked by keys that were given for this report' : 'Checked by the keys that the server names; give those that you trust with --key'}:</p>
<ul>${signed.map(({ vkey, at }) => html`<li><code>${vkey}</code>${at === undefined ? '' : `, witnessed ${dateOf(at * 1000)}`}</li>`)}</ul></div>`
}

function requestOf({ created, run, events }: Evidence): Html {
  const { by, definition, session, subject, parent, origin, schedule, labels, limits, priority } = created
  const activations = events.flatMap(({ entry }) => (entry.type === 'run.activated' ? [entry] : []))
  return facts([
    ['Requested by', `${by.user}${by.service ? ' (a service)' : ''}, with the key ${by.key}`],
    ['At', dateOf(created.at)],
    ['Ended', run.endedAt === undefined ? 'not yet' : dateOf(run.endedAt)],
    ['Status', run.error ? `${run.status}: ${run.error.code}: ${run.error.message}` : run.status],
    [
      'Definition',
      html`${definition.kind} ${definition.name}@${definition.version}${definition.hash === '' ? ', given with the request' : html`, <code>${definition.hash}</code>`}`,
    ],
    ['Session', session],
    ['Subject', subject],
    ['Begun by run', parent && `${parent.run}, step ${parent.step}`],
    ['Forked from run', origin && `${origin.run}, after entry ${origin.seq} (${origin.hash})`],
    ['By schedule', schedule && `${schedule.id}, for ${dateOf(schedule.at)}`],
    ['Labels of its input', listed(labels)],
    ['Limits', Object.keys(limits).length === 0 ? undefined : JSON.stringify(limits)],
    ['Priority', priority],
    [
      'Taken up by',
      activations.length === 0
        ? 'no worker yet'
        : table(
            ['worker', 'code', 'at'],
            activations.map(({ worker, app, at }) => [worker, html`<code>${app}</code>`, dateOf(at)]),
          ),
    ],
  ])
}

function held(what: string, content: Held | undefined, { content: isShown }: Evidence): Html | undefined {
  if (!content) return undefined
  const digest = html`SHA-256 <code>${content.digest}</code>`
  if (content.value === undefined)
    return html`<p>${what}: <strong>erased.</strong> It had, with its salt, ${digest}.</p>`
  if (!isShown) return html`<p>${what}: left out of this report; with its salt ${digest}.</p>`
  const text = JSON.stringify(content.value, null, 2)
  const rest = text.length - SHOWN_MAX
  return html`<p>${what}; with its salt ${digest}.</p><pre>${text.slice(0, SHOWN_MAX)}</pre>${
    rest > 0 ? html`<p class="quiet">${rest} characters more are in the journal.</p>` : undefined
  }`
}

function contentOf(evidence: Evidence): Html {
  const { events } = evidence
  const of = (type: string) => {
    const event = events.find(({ entry }) => entry.type === type)
    return event && heldOf(event)
  }
  const [given, gave] = [of('run.created'), of('run.ended')]
  return html`${held('Input', given, evidence) ?? html`<p>No input.</p>`}${held('Output', gave, evidence) ?? html`<p>No output.</p>`}`
}

function answersOf(evidence: Evidence): Html {
  const answers = evidence.attempts.flatMap(({ answers }) => answers)
  const other = evidence.events.flatMap(({ seq, entry }) =>
    entry.type === 'approval.escalated'
      ? [
          html`<li>Entry ${seq}: nobody had answered for step ${entry.step}; from ${dateOf(entry.at)} on ${entry.role} could as well.</li>`,
        ]
      : entry.type === 'message.ignored' && entry.about === 'approval'
        ? [
            html`<li>Entry ${seq}: an answer by ${entry.by?.user ?? 'a person'} for step ${entry.step} did not count: ${entry.why}.</li>`,
          ]
        : [],
  )
  const waits = evidence.run.waiting.filter((one) => one.for === 'approval' || one.for === 'doubt')
  if (answers.length + other.length + waits.length === 0) return html`<p>Nobody was asked.</p>`
  return html`${
    answers.length === 0
      ? undefined
      : table(
          ['step', 'answer', 'by', 'role', 'at', 'why'],
          answers.map((one) => answerRow(one, evidence)),
        )
  }
${other.length === 0 ? undefined : html`<ul>${other}</ul>`}
${waits.length === 0 ? undefined : html`<ul>${waits.map(({ step, role }) => html`<li>Step ${step} still waits for ${role}.</li>`)}</ul>`}`
}

function answerRow({ seq, entry, content }: Answer, evidence: Evidence): Part[] {
  const { step, verdict, edited, by, role, as, at, shown, more } = entry
  return [
    html`${step}<br><span class="quiet">entry ${seq}</span>`,
    verdict === 'deny' ? 'refused' : edited ? 'approved with other input' : 'approved',
    html`${by.user}<br><span class="quiet">key ${by.key}</span>`,
    as === undefined ? role : `${as}, for ${role}`,
    dateOf(at),
    html`${reasonOf(content, evidence)}<br><span class="quiet">shown: <code>${shown}</code>${more === undefined ? '' : `; ${more} more had to approve`}</span>`,
  ]
}

function reasonOf(content: Held | undefined, { content: isShown }: Evidence): Part {
  if (!content) return 'no reason given'
  if (content.value === undefined) return 'erased'
  const { reason, input } = content.value as { reason?: string; input?: unknown } // see `approval.given`
  const edit =
    input === undefined
      ? undefined
      : isShown
        ? html`<pre>${JSON.stringify(input, null, 2)}</pre>`
        : ' (its edit is left out)'
  return html`${reason ?? 'no reason given'}${edit}`
}

function eventsOf({ events }: Evidence): Html {
  const quiet = ['run.created', 'run.activated', 'run.parked', 'run.ended', 'run.checkpoint', 'run.copied']
  const rows = events.flatMap(({ seq, entry }) => {
    if ('step' in entry || quiet.includes(entry.type)) return []
    const by = 'by' in entry && entry.by !== undefined ? (typeof entry.by === 'string' ? entry.by : entry.by.user) : ''
    const { type, at } = entry
    const about =
      type === 'run.stopped' || type === 'run.lifted'
        ? `${entry.stop}${'reason' in entry && entry.reason !== undefined ? `: ${entry.reason}` : ''}`
        : type === 'signal.received'
          ? entry.name
          : type === 'message.ignored'
            ? entry.about
            : ''
    return [[seq, type, by, about, dateOf(at)]]
  })
  if (rows.length === 0) return html`<p>Nothing: nobody stopped, paused, cancelled or signalled it.</p>`
  return table(['entry', 'what', 'by', 'about', 'at'], rows)
}

function costOf({ run, attempts }: Evidence): Html {
  const models = new Map<string, { calls: number; input: number; output: number; usd: number }>()
  for (const { kind, target, model = target, usage, costUsd } of attempts) {
    if (kind !== 'model') continue
    const { calls, input, output, usd } = models.get(model) ?? { calls: 0, input: 0, output: 0, usd: 0 }
    models.set(model, {
      ...{ calls: calls + 1, input: input + (usage?.inputTokens ?? 0) },
      ...{ output: output + (usage?.outputTokens ?? 0), usd: usd + costUsd },
    })
  }
  const rows = [...models].map(([model, { calls, input, output, usd }]) => [model, calls, input, output, dollars(usd)])
  return html`<p>${dollars(run.costUsd)} in all, ${run.steps} step${run.steps === 1 ? '' : 's'}, ${run.usage.inputTokens} tokens in and ${run.usage.outputTokens} out.</p>${
    rows.length === 0 ? undefined : table(['model', 'attempts', 'tokens in', 'tokens out', 'cost'], rows)
  }`
}

function dollars(usd: number): string {
  return `$${usd.toFixed(4)}`
}

function counts(redacted: RedactCounts | undefined): string | undefined {
  return listed(Object.entries(redacted ?? {}).map(([kind, count]) => `${count} ${kind}`))
}

function redactionOf({ events }: Evidence): Html {
  const rows = events.flatMap(({ seq, entry }) => {
    const found = 'redacted' in entry ? counts(entry.redacted) : undefined
    return found === undefined ? [] : [[seq, entry.type, 'step' in entry ? entry.step : '', found]]
  })
  if (rows.length === 0) return html`<p>Nothing was redacted.</p>`
  return html`<p>Taken out before it was written: masked, or put in tokens that only tools which reveal the kind are given as it was.</p>${table(['entry', 'of', 'step', 'what'], rows)}`
}

function stepOf(attempt: Attempt, evidence: Evidence): Html {
  const { step, kind, target, attempt: nth, status, seqs, began, ended, effect, labels, outcome } = attempt
  const altered = evidence.verification.findings.some(({ seq }) => seqs.includes(seq))
  return html`<section class="step ${status}"><h3>${step}${nth > 1 ? `, attempt ${nth}` : ''}: ${status}${altered ? ' (ALTERED)' : ''}</h3>
<p>${kind} <code>${target}</code>${effect === undefined ? '' : `, effect ${effect}`}, ${dateOf(began)}${
    ended === undefined ? ', not ended' : `, ${Math.max(0, Math.round(ended - began))} ms`
  }. <span class="quiet">Entries ${seqs.join(', ')}.</span></p>
${facts([
  ['Decision', attempt.decision && decisionOf(attempt.decision)],
  [
    'Waited for',
    attempt.waits.length === 0
      ? undefined
      : attempt.waits.map((one) => html`<p>${waitOf(one)}${one.decision && html`<br>${decisionOf(one.decision)}`}</p>`),
  ],
  ['Labels', listed(labels)],
  ['Labels of its outcome', listed(outcome)],
  ['Declassified', listed(attempt.declassified)],
  ['Model', attempt.model],
  ['Cost', attempt.costUsd === 0 ? undefined : dollars(attempt.costUsd)],
  ['Redacted', counts(attempt.redacted)],
  ['Error', attempt.error],
])}
${held('Input', attempt.input, evidence)}${held('Output', attempt.output, evidence)}</section>`
}

function waitOf({ for: reason, role, rule, until, child }: Attempt['waits'][number]): string {
  const what = child === undefined ? reason : `run ${child}`
  const who = role === undefined ? '' : ` by ${rule?.people === undefined ? '' : `${rule.people} of `}${role}`
  return `${what}${who}${until === undefined ? '' : `, until ${dateOf(until)}`}`
}

function decisionOf({
  effect,
  policies,
  set,
  role,
  errors,
  trial,
  unapproved,
  newDestination,
  history,
}: Decision): Html {
  return html`<strong>${effect}</strong> by ${listed(policies) ?? (effect === 'allow' ? 'no policy' : 'no policy that permits it')}${role === undefined ? '' : `, asks ${role}`}
<br>policy set <code>${set}</code>${[
    errors && `could not be evaluated: ${errors.join('; ')}`,
    unapproved && 'the tool is not as it was approved',
    newDestination && 'data goes to a new destination',
    history && `of the past: ${JSON.stringify(history)}`,
    trial &&
      `log-only policies would have: ${trial.effect} by ${listed(trial.policies) ?? 'no policy that permits it'}`,
  ].map((note) => (note === undefined ? undefined : html`<br>${note}`))}`
}

function mappingOf(evidence: Evidence): Html {
  const rows = mappedControls(evidence)
  const frameworks = [...new Set(rows.map(({ framework }) => framework))]
  return html`<p>What the journal of this one run shows, in its own numbers. It is no certificate, no legal advice, and no statement on whether a law or standard applies; an auditor concludes, over many runs and what lies outside them.</p>
${frameworks.map(
  (framework) =>
    html`<h3>${framework}</h3>${table(
      ['control', 'what this run shows', 'what this does not claim'],
      rows
        .filter((row) => row.framework === framework)
        .map(({ control, about, shows, claimsNot }) => [
          html`<strong>${control}</strong><br>${about}`,
          html`<ul>${shows.map((one) => html`<li>${one}</li>`)}</ul>`,
          claimsNot,
        ]),
    )}`,
)}`
}

function entriesOf({ events }: Evidence): Html {
  return table(
    ['entry', 'type', 'step', 'at', 'hash'],
    events.map(({ seq, hash, entry }) => [
      ...[seq, entry.type, 'step' in entry ? entry.step : '', dateOf(entry.at)],
      html`<code>${hash}</code>`,
    ]),
  )
}
