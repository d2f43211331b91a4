import { setTimeout as sleep } from 'node:timers/promises'
import { GATEWAY, isEnded, type Json, type RunSummary } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { z } from 'zod'
import { ScriptedModel, tokens } from '../../src/fixtures/scripted-model.ts'
import type { Used } from './budgets.ts'
import { fold, type ReadJournal, readJournal } from './journal.ts'
import type { Random } from './random.ts'

/** What the model behind the gateway is called there, and what it costs. */
const MODEL = 'gated'
const price = { inputUsd: 10, cachedUsd: 1, outputUsd: 20 }

/** An answer breaks off, and the vendor is overloaded, so often. */
const CUT = 0.05
const OVERLOADED = 0.05
const DELAY_MS = 150
const OPEN_MAX = 20
const EVERY_MS = 100
const LATE_MS = 30_000

const answerTo = (question: string) => `What to say of ${question}`
const asking = z.object({ messages: z.array(z.object({ content: z.string() })).min(1) })
const created = z.object({ input: z.object({ body: asking }) })
const chunk = z.object({ choices: z.array(z.object({ delta: z.object({ content: z.string().nullish() }) })) })
const whole = z.object({ choices: z.array(z.object({ message: z.object({ content: z.string() }) })) })

/** Asks of the gateway are runs too, of clients who hold the connection. */
export class GatewayClients {
  readonly #random: Random
  readonly #model: ScriptedModel
  /** How often the model was asked each question. */
  readonly #asked = new Map<string, number>()
  /** What a client was told, by its question: undefined where the answer was not whole. */
  readonly #told = new Map<string, string | undefined>()

  constructor(random: Random) {
    this.#random = random
    this.#model = new ScriptedModel(async ({ body }) => {
      const question = questionOf(asking.parse(body))
      this.#asked.set(question, (this.#asked.get(question) ?? 0) + 1)
      await sleep(random.between(0, DELAY_MS))
      const fate = random.next()
      if (fate < CUT) return { cut: true }
      if (fate < CUT + OVERLOADED) return { status: 503, error: { message: 'overloaded' } }
      return { text: answerTo(question) }
    })
  }

  /** Starts the model; gives what a server is told of it. */
  async listen(): Promise<NodeJS.ProcessEnv> {
    const openai = { model: MODEL, baseUrl: await this.#model.listen() }
    return {
      MUSTER_GATEWAY: 'on',
      MUSTER_MODELS: JSON.stringify({ default: [{ openai: { ...openai, api: 'chat' }, key: 'GATED_KEY', price }] }),
      GATED_KEY: 'sk-gated',
    }
  }

  close(): void {
    this.#model.close()
  }

  /** Asks until it is told that it is over, and ends when the last has its answer or none. */
  async run(over: AbortSignal, { url, key }: { url: string; key: string }): Promise<void> {
    const open = new Set<Promise<void>>()
    while (!over.aborted) {
      if (open.size < OPEN_MAX) {
        const question = `question-${this.#told.size}`
        this.#told.set(question, undefined)
        const client = ask(url, key, question, this.#random.next() < 0.5).then(
          (text) => {
            this.#told.set(question, text)
            open.delete(client)
          },
          // Refused, or cut off: it is nobody's mistake while things go wrong.
          () => void open.delete(client),
        )
        open.add(client)
      }
      await sleep(EVERY_MS)
    }
    await Promise.all(open)
  }

  get answered(): number {
    return [...this.#told.values()].filter((text) => text !== undefined).length
  }

  /**
   * What is wrong: runs that do not end or are nobody's, answers that no run has, questions that were asked twice or without
   * an intent, and, where all runs are in the archive, costs that are not the sum of what the journals say.
   */
  async account(
    muster: Muster,
    { withinMs, isArchived, used }: { withinMs: number; isArchived: boolean; used: Used },
  ): Promise<string[]> {
    const found: string[] = []
    const runs = await endedRuns(muster, withinMs)
    const byQuestion = new Map<string, string>()
    let [paidCalls, costUsd] = [0, 0]
    for (const { id, status } of runs) {
      const wrong = (what: string) => found.push(`request ${id} (${status}): ${what}`)
      if (!isEnded(status)) wrong('its run did not end')
      const journal = await readJournal(muster, id)
      used.add(journal.entries)
      for (const { message } of journal.verification.findings) wrong(`its chain does not verify: ${message}`)
      const question = questionIn(journal)
      if (!this.#told.has(question)) wrong(`nobody asked "${question}"`)
      if (byQuestion.has(question)) wrong(`it asks what run ${byQuestion.get(question)} asks`)
      byQuestion.set(question, id)
      const asked = this.#asked.get(question) ?? 0
      const isAllowed = journal.entries.some((one) => one.type === 'step.intent' && one.decision.effect === 'allow')
      if (asked > 0 && !isAllowed) wrong('the model was asked without an intent that allows it')
      if (asked > 1) wrong(`the model was asked ${asked} times`)
      if (status === 'succeeded' && asked !== 1) wrong(`it has an answer of a model that was asked ${asked} times`)
      const told = this.#told.get(question)
      const output = fold(journal).output
      if (told !== undefined && textIn(output) !== told)
        wrong(`its client was told "${told}", and its output is ${JSON.stringify(output)}`)
      for (const one of journal.entries) {
        if (one.type !== 'step.ended' || one.usage === undefined) continue
        paidCalls++
        costUsd += one.costUsd ?? 0
      }
    }
    for (const [question, text] of this.#told)
      if (text !== undefined && !byQuestion.has(question)) found.push(`${question} was answered and has no run`)
    for (const question of this.#asked.keys())
      if (!byQuestion.has(question)) found.push(`the model was asked ${question} and there is no run of it`)
    return isArchived ? [...found, ...(await wrongCosts(muster, paidCalls, costUsd))] : found
  }
}

async function ask(url: string, key: string, question: string, stream: boolean): Promise<string> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'default', stream, messages: [{ role: 'user', content: question }] }),
    signal: AbortSignal.timeout(LATE_MS),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.status}: ${text}`)
  if (!stream)
    return whole
      .parse(JSON.parse(text))
      .choices.map(({ message }) => message.content)
      .join('')
  const events = text.split('\n\n').flatMap((event) => (event.startsWith('data: ') ? [event.slice(6)] : []))
  if (events.pop() !== '[DONE]') throw new Error('the stream broke off')
  return events
    .flatMap((event) => chunk.parse(JSON.parse(event)).choices)
    .map(({ delta }) => delta.content ?? '')
    .join('')
}

function questionOf({ messages }: z.infer<typeof asking>): string {
  return messages.at(-1)?.content ?? ''
}

function questionIn({ stored }: ReadJournal): string {
  // Content is a salt of 22 characters and JSON.
  return questionOf(created.parse(JSON.parse(stored[0]?.content?.slice(22) ?? 'null')).input.body)
}

/** What a run of the gateway has given: the vendor's answer. */
function textIn(output: Json | undefined): string | undefined {
  return whole
    .safeParse(output)
    .data?.choices.map(({ message }) => message.content)
    .join('')
}

/** All runs of the gateway, when they have ended or the time is over. */
async function endedRuns(muster: Muster, withinMs: number): Promise<RunSummary[]> {
  const late = performance.now() + withinMs
  for (;;) {
    const all: RunSummary[] = []
    let cursor: string | undefined
    do {
      const page = await muster.runs.list({
        name: GATEWAY.name,
        limit: 100,
        ...(cursor === undefined ? {} : { cursor }),
      })
      all.push(...page.runs)
      cursor = page.cursor
    } while (cursor !== undefined)
    if (all.every(({ status }) => isEnded(status)) || performance.now() > late) return all
    await sleep(500)
  }
}

async function wrongCosts(muster: Muster, calls: number, costUsd: number): Promise<string[]> {
  const { costs } = await muster.costs.list({ by: 'model', period: 'month' })
  const of = costs.filter(({ name }) => name.includes(MODEL))
  const sum = (amount: 'usd' | 'inputTokens' | 'outputTokens') => of.reduce((total, one) => total + one[amount], 0)
  const are = [sum('usd').toFixed(9), sum('inputTokens'), sum('outputTokens')].join(' ')
  const due = [costUsd.toFixed(9), calls * tokens.input, calls * tokens.output].join(' ')
  return are === due ? [] : [`what ${MODEL} cost is ${are} by the books and ${due} by the journals`]
}
