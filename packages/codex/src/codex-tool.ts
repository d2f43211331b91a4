import { mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve, sep } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type Effect, isEnded, type Label, MusterError, run } from '@muster/protocol'
import { type CallContext, type Spent, type Tool, tool } from '@muster/tools'
import { Codex, type ThreadEvent, type ThreadItem } from '@openai/codex-sdk'
import { z } from 'zod'
import { type Change, changesBetween, filesIn } from './files.ts'

export interface CodexToolOptions {
  /** `codex.work` unless given. */
  name?: string
  description?: string
  /** The folder that it may write to; a call may name one below it. */
  workspace: string
  /** `MUSTER_URL` and `MUSTER_API_KEY` unless given: whose key it is decides tenant, budgets and routes. */
  gateway?: { url: string; key: string }
  /** A route of the gateway; `default` unless given. */
  model?: string
  /** What Codex's sandbox lets commands do; `workspace-write` unless given. */
  sandbox?: Sandbox
  /** Whether commands may use the network: then a repeat may do something outside again, and the effect is `once`. */
  network?: boolean
  /** Variables that commands see besides PATH. */
  env?: Record<string, string>
  /** `untrusted` unless given: what a workspace holds decides what is answered. */
  labels?: readonly Label[]
  /** Half an hour unless given. */
  timeoutMs?: number
  /** Told of each event as Codex tells it. */
  onEvent?: (event: ThreadEvent, call: CallContext) => void
}

type Sandbox = 'read-only' | 'workspace-write' | 'danger-full-access'

const KEY = 'MUSTER_API_KEY'
/** Characters of an answer, and of a command, that are kept. */
const ANSWER_MAX = 100_000
const COMMAND_MAX = 2000
/** Changes and commands that are listed. */
const LISTED_MAX = 500

const input = z.object({
  task: z.string().min(1).max(100_000).describe('what is to be done, as one would tell a developer'),
  folder: z.string().max(1000).optional().describe('where, below the workspace'),
})
const output = z.object({
  answer: z.string(),
  /** What is different in the folder, whoever wrote it; `.git` and `node_modules` are left out. */
  changed: z.array(z.object({ path: z.string(), kind: z.enum(['added', 'changed', 'deleted']) })),
  commands: z.array(z.object({ command: z.string(), exitCode: z.number().nullable() })),
  /** By which the gateway's runs of it are found: their session ends with it. */
  thread: z.string(),
})

/**
 * A tool that lets Codex do a task in a folder. It is decided, approved, journaled and cancelled as any tool is; each of
 * Codex's calls of the model is a run at the gateway, where policy sees the commands that the model asks for.
 */
export function codexTool(options: CodexToolOptions): Tool<string, typeof input, typeof output> {
  const { sandbox = 'workspace-write', network = false } = options
  return tool({
    name: options.name ?? 'codex.work',
    description:
      options.description ?? 'Lets a coding agent do a task in a folder: it reads, writes and runs commands.',
    effect: effectOf(sandbox, network),
    labels: options.labels ?? ['untrusted'],
    timeoutMs: options.timeoutMs ?? 1_800_000,
    // What Codex gives up on, it would give up on again; a worker that dies is another matter.
    retries: { 'codex.failed': false, 'config.invalid': false, 'step.timeout': false },
    input,
    output,
    run: async ({ task, folder }, context) => {
      // Here, and not where it is defined: policies are checked against an app on machines that have neither.
      const gateway = options.gateway ?? gatewayOf(process.env)
      const place = inside(folderOf(options.workspace), folder ?? '.')
      const before = filesIn(place)
      const home = mkdtempSync(join(tmpdir(), 'muster-codex-'))
      try {
        const codex = new Codex({
          env: { ...options.env, PATH: process.env.PATH ?? '', HOME: home, CODEX_HOME: home, [KEY]: gateway.key },
          config: configOf(gateway.url),
        })
        const thread = codex.startThread({
          ...{ model: options.model ?? 'default', workingDirectory: place, sandboxMode: sandbox },
          ...{ approvalPolicy: 'never', skipGitRepoCheck: true, networkAccessEnabled: network },
        })
        const { events } = await thread.runStreamed(task, { signal: context.signal })
        let items: readonly ThreadItem[]
        let calls: readonly Costly[] = []
        try {
          items = await followed(events, context.signal, (event) => options.onEvent?.(event, context))
        } finally {
          // A run that was cancelled counts nothing any more.
          if (thread.id && !context.signal.aborted) {
            calls = await callsOf(gateway, thread.id, context.signal)
            context.spent(sumOf(calls))
          }
        }
        const told = toldOf(items)
        // Only a denial, which stands in the place of what Codex was to do, knows the run that it is said in.
        const [last] = calls
        if (last && told.answer.includes(last.id))
          throw new MusterError('codex.failed', told.answer.slice(0, COMMAND_MAX))
        return { ...told, changed: listed(changesBetween(before, filesIn(place))), thread: thread.id ?? '' }
      } finally {
        rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
      }
    },
  })
}

/** Work in a sandbox without network stays in the folder, and can be done again; what reaches outside cannot. */
function effectOf(sandbox: Sandbox, network: boolean): Effect {
  if (network || sandbox === 'danger-full-access') return 'once'
  return sandbox === 'read-only' ? 'read' : 'write'
}

const PAGE = 200
/** What a model was asked last may be a moment from its end. */
const END_MS = 10_000
const PAUSE_MS = 100

/** A thread's calls of the model as the gateway's runs, the newest first. @throws MusterError `codex.failed` */
async function callsOf(gateway: { url: string; key: string }, thread: string, signal: AbortSignal): Promise<Costly[]> {
  const until = Date.now() + END_MS
  for (;;) {
    try {
      const runs = await runsOf(gateway, thread)
      if (runs.every(({ status }) => isEnded(status)) || Date.now() > until) return runs
    } catch (error) {
      if (Date.now() > until)
        throw new MusterError('codex.failed', 'what it has cost cannot be learnt from the gateway', { cause: error })
    }
    await setTimeout(PAUSE_MS, undefined, { signal })
  }
}

const page = z.object({ runs: z.array(z.object({ id: z.string() })), cursor: z.string().optional() })
const costly = run.pick({ id: true, status: true, costUsd: true, usage: true })
type Costly = z.infer<typeof costly>

async function runsOf({ url, key }: { url: string; key: string }, thread: string): Promise<Costly[]> {
  const read = async (path: string): Promise<unknown> => {
    const response = await fetch(`${url.replace(/\/$/, '')}/v1/runs${path}`, {
      headers: { authorization: `Bearer ${key}` },
    })
    if (!response.ok) throw new Error(`the gateway answers ${response.status}`)
    return response.json()
  }
  const found: Costly[] = []
  const session = encodeURIComponent(`~/${thread}`)
  for (let cursor = ''; ; ) {
    const next = page.parse(await read(`?session=${session}&limit=${PAGE}${cursor && `&cursor=${cursor}`}`))
    for (const { id } of next.runs) found.push(costly.parse(await read(`/${id}`)))
    if (next.cursor === undefined) return found
    cursor = next.cursor
  }
}

function sumOf(runs: readonly Costly[]): Spent {
  const sum = { usd: 0, inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
  for (const { costUsd, usage } of runs) {
    sum.usd += costUsd
    sum.inputTokens += usage.inputTokens
    sum.outputTokens += usage.outputTokens
    sum.cachedTokens += usage.cachedTokens
  }
  return sum
}

/** As `muster codex` writes it, and nothing that calls home. */
function configOf(url: string) {
  const provider = { name: 'Muster', base_url: `${url.replace(/\/$/, '')}/v1`, wire_api: 'responses', env_key: KEY }
  return {
    ...{ model_provider: 'muster', model_providers: { muster: provider }, web_search: 'disabled' },
    shell_environment_policy: { exclude: [KEY] },
    analytics: { enabled: false },
    agents: { enabled: false },
    features: { plugins: false, apps: false },
    check_for_update_on_startup: false,
  }
}

/** What was done, when all is done. @throws MusterError `codex.failed` */
async function followed(
  events: AsyncIterable<ThreadEvent>,
  signal: AbortSignal,
  tell: (event: ThreadEvent) => void,
): Promise<readonly ThreadItem[]> {
  const items: ThreadItem[] = []
  let failure: string | undefined
  try {
    for await (const event of events) {
      tell(event)
      if (event.type === 'item.completed') items.push(event.item)
      if (event.type === 'turn.failed') failure = event.error.message
    }
  } catch (error) {
    // It ends with an exit code besides, which says less.
    failure ??= error instanceof Error ? error.message : String(error)
  }
  signal.throwIfAborted()
  if (failure !== undefined) throw new MusterError('codex.failed', failure.slice(0, COMMAND_MAX))
  return items
}

function toldOf(items: readonly ThreadItem[]) {
  const said = items.flatMap((item) => (item.type === 'agent_message' ? [item.text] : []))
  const commands = items.flatMap((item) =>
    item.type === 'command_execution'
      ? [{ command: item.command.slice(0, COMMAND_MAX), exitCode: item.exit_code ?? null }]
      : [],
  )
  return { answer: (said.at(-1) ?? '').slice(0, ANSWER_MAX), commands: listed(commands) }
}

const listed = <T extends Change | { command: string }>(all: T[]): T[] => all.slice(0, LISTED_MAX)

/** @throws MusterError `tool.failed` where it is elsewhere, be it by a link */
function inside(workspace: string, folder: string): string {
  const path = resolve(workspace, folder)
  const real = statSync(path, { throwIfNoEntry: false })?.isDirectory() ? realpathSync(path) : undefined
  if (real === workspace || real?.startsWith(workspace + sep)) return real
  throw new MusterError('tool.failed', `folder: "${folder}" is no folder below the workspace`)
}

function folderOf(workspace: string): string {
  if (statSync(workspace, { throwIfNoEntry: false })?.isDirectory()) return realpathSync(workspace)
  throw new MusterError('config.invalid', `codexTool: workspace: "${workspace}" is no folder`)
}

function gatewayOf(env: NodeJS.ProcessEnv): { url: string; key: string } {
  const { MUSTER_URL: url, MUSTER_API_KEY: key } = env
  if (url && key) return { url, key }
  throw new MusterError('config.invalid', `codexTool: give gateway, or set MUSTER_URL and ${KEY}`)
}
