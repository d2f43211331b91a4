import { tightest } from '@muster/governance'
import type { Journal } from '@muster/journal'
import {
  type Actor,
  astrayText,
  type DefinitionManifest,
  type EntryOf,
  type Issue,
  isCarried,
  type Json,
  type JsonSchema,
  MusterError,
  newId,
  type PlanData,
  pinOf,
  planData,
  planGraph,
  planSignals,
  type Run,
  type StartRun,
  type StepError,
  takesMedia,
} from '@muster/protocol'
import type { Redaction } from '@muster/redaction'
import { INLINE } from '@muster/runtime'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { checkMedia, checkSize } from './media.ts'

type Created = Omit<EntryOf<'run.created'>, 'v' | 'seq' | 'content' | 'type' | 'at'>

const VALIDATORS_MAX = 1000

/**
 * Decides whether a run may be created: its definition is known by manifest, its input matches the
 * schema, its plan is sound. Runs no user code.
 */
export class Admission {
  readonly #journal: Journal
  readonly #redaction: Redaction | undefined
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true })
  readonly #validators = new Map<string, ValidateFunction>()
  /** What is looked up in this tick: many runs of one definition are begun together. */
  readonly #looks = new Map<string, Promise<DefinitionManifest | undefined>>()

  constructor(journal: Journal, redaction?: Redaction) {
    this.#journal = journal
    this.#redaction = redaction
  }

  /** @throws MusterError `definition.not_found`, `input.invalid`, `request.too_large`, `plan.cycle`, `plan.unknown_reference`, `plan.invalid` */
  async admit(request: StartRun, tenant: string, by: Actor): Promise<{ run: Created; content: Json }> {
    const { plan, input } = request
    const common = {
      run: newId(),
      tenant,
      by,
      ...(request.session === undefined ? {} : { session: request.session }),
      ...(request.subject === undefined ? {} : { subject: request.subject }),
      ...(request.priority === undefined ? {} : { priority: request.priority }),
    }
    if (typeof plan === 'object') {
      checkSize(request as unknown as Json) // it came as JSON
      await this.#checkPlan(plan)
      return this.#redacted({
        run: {
          ...common,
          definition: { kind: 'plan', name: INLINE, version: INLINE, hash: '' },
          labels: [...new Set(request.labels ?? [])].sort(),
          limits: request.limits ?? {},
        },
        // planData is JSON by its schema.
        content: { input, plan: plan as unknown as Json },
      })
    }
    const definition = await this.#find(request)
    if (takesMedia(definition.input)) checkMedia(input, '/input')
    else checkSize(input)
    this.#checkInput(definition, input)
    const { kind, name, version, hash } = definition
    return this.#redacted({
      run: {
        ...common,
        definition: { kind, name, version, hash },
        labels: [...new Set([...(request.labels ?? []), ...definition.inputLabels])].sort(),
        limits: tightest(definition.limits, request.limits ?? {}),
      },
      content: { input },
    })
  }

  /** After it was checked: a mask may be no address, and what is wrong is told of what was sent. */
  #redacted({ run, content }: { run: Created; content: Json }): { run: Created; content: Json } {
    const { value, found } = this.#redaction?.of(run.tenant).redact(content) ?? {}
    return value === undefined
      ? { run, content }
      : { run: { ...run, ...(found && { redacted: found }) }, content: value }
  }

  async #find(request: StartRun): Promise<DefinitionManifest> {
    const kind = request.agent === undefined ? 'plan' : 'agent'
    const name = request.agent ?? String(request.plan)
    const definition = await this.#look(kind, name, request.version)
    if (definition) return definition
    const { definitions } = await this.#journal.manifest()
    const names = definitions.filter((d) => d.kind === kind).map((d) => `${d.name}@${d.version}`)
    const what = request.version === undefined ? `"${name}"` : `"${name}" in version ${request.version}`
    throw new MusterError(
      'definition.not_found',
      `There is no ${kind} ${what}. Known: ${names.join(', ') || 'none: no worker has started yet'}`,
      {
        issues: [{ path: `/${kind}`, message: 'unknown' }],
      },
    )
  }

  /** As it is published now: a run that is pinned to what a deployment has just replaced would wait for what is gone. */
  #look(kind: 'agent' | 'plan', name: string, version: string | undefined): Promise<DefinitionManifest | undefined> {
    const key = `${kind}:${name}@${version ?? ''}`
    const known = this.#looks.get(key)
    if (known) return known
    const look = this.#journal.definition(kind, name, version)
    this.#looks.set(key, look)
    setImmediate(() => this.#looks.delete(key))
    return look
  }

  #checkInput(definition: DefinitionManifest, input: Json): void {
    const { hash, name, input: schema } = definition
    this.#check(hash, schema, input, '/input', `The input does not match the schema of ${name}`)
  }

  /** `key` tells the schema from all others. */
  #check(key: string, schema: JsonSchema, value: Json, at: string, what: string): void {
    let validate = this.#validators.get(key)
    if (!validate) {
      validate = this.#ajv.compile(schema)
      if (this.#validators.size >= VALIDATORS_MAX) this.#validators.clear()
      this.#validators.set(key, validate)
    }
    if (validate(value)) return
    const issues: Issue[] = (validate.errors ?? []).map(({ instancePath, message, params }) => ({
      path: `${at}${instancePath}`,
      message: `${message ?? 'is invalid'}${params.additionalProperty === undefined ? '' : `: ${String(params.additionalProperty)}`}`,
    }))
    throw new MusterError('input.invalid', `${what}: ${issues.map((i) => `${i.path} ${i.message}`).join('; ')}`, {
      issues,
    })
  }

  /**
   * Checks what a tool's step is called back with.
   *
   * @throws MusterError `output.invalid`
   */
  async checkOutput(tool: string, output: Json): Promise<void> {
    const { tools } = await this.#journal.manifest()
    const manifest = tools.find(({ name }) => name === tool)
    if (!manifest) return
    const what = `The output does not match the schema of ${tool}`
    this.#check(`${manifest.hash}/output`, manifest.output, output, '/output', what)
  }

  /**
   * Checks what a person would have a tool called with. What the tool is to see restored only its worker can check.
   *
   * @throws MusterError `input.invalid`
   */
  async checkToolInput(tool: string, input: Json): Promise<void> {
    const { tools } = await this.#journal.manifest()
    const manifest = tools.find(({ name }) => name === tool)
    if (!manifest || (this.#redaction && manifest.reveals)) return
    const what = `The input does not match the schema of ${tool}`
    this.#check(`${manifest.hash}/input`, manifest.input, input, '/input', what)
  }

  /**
   * Decides whether a run may be sent a signal.
   *
   * @throws MusterError `signal.unknown` or `input.invalid`
   */
  async checkSignal(run: Run, name: string, payload: Json): Promise<void> {
    const { kind, version, plan } = run
    const definition = kind === 'plan' && version !== INLINE ? await this.#definition(run) : undefined
    const signals =
      plan === undefined
        ? definition && 'signals' in definition
          ? (definition.signals ?? {})
          : {}
        : planSignals(planData.parse(plan))
    if (!Object.hasOwn(signals, name)) {
      const names = Object.keys(signals).join(', ')
      throw new MusterError('signal.unknown', `Run ${run.id} takes no signal "${name}". It takes: ${names || 'none'}`)
    }
    const schema = signals[name] as JsonSchema
    const key = `${definition?.hash ?? run.id}/${name}`
    this.#check(key, schema, payload, '/payload', `The payload does not match the schema of signal "${name}"`)
  }

  /** Why a run that waits for a worker is not taken up, where none that lives could. */
  async problemOf(definition: EntryOf<'run.created'>['definition']): Promise<StepError | undefined> {
    const workers = await this.#journal.workers()
    if (workers.length === 0) return { code: 'definition.absent', message: 'no worker is running' }
    const { kind, name, version } = definition
    const wanted = pinOf(definition)
    const carried = new Set(workers.flatMap(({ definitions }) => definitions))
    if (version === INLINE || isCarried(wanted, carried)) return undefined
    const others = [...carried].filter((other) => /^[^:]+:([^@]+)@/.exec(other)?.[1] === name)
    const changed = others.some((other) => other.startsWith(`${kind}:${name}@${version}#`))
    const cure = changed
      ? '. Its code was changed: start a worker with the code as it was, or give the change a version of its own, or let runs go on with changed code by pin: "version"'
      : ''
    return {
      code: 'definition.absent',
      message: `no worker that runs carries ${wanted}${others.length === 0 ? '' : `; they carry ${others.join(', ')}`}${cure}`,
    }
  }

  /**
   * Why a run that is under way does not go on: no worker could read it, or its plan's code waits for what is none of its
   * steps.
   */
  async heldUp({ id, name, version }: Run): Promise<StepError | undefined> {
    const workers = await this.#journal.workers()
    const failing = workers.flatMap(({ failing }) => failing).find(({ run }) => run === id)
    if (failing) return failing.error
    if (!workers.some(({ astray }) => astray.includes(id))) return undefined
    return { code: 'plan.astray', message: astrayText({ name, version }) }
  }

  async #definition({ kind, name, version }: Run): Promise<DefinitionManifest | undefined> {
    return this.#journal.definition(kind, name, version)
  }

  async #checkPlan(plan: PlanData): Promise<void> {
    planGraph(plan)
    for (const [name, schema] of Object.entries(plan.signals ?? {})) {
      try {
        this.#ajv.compile(schema)
      } catch (error) {
        const message = `is not a JSON Schema: ${error instanceof Error ? error.message : error}`
        const path = `/plan/signals/${name}`
        throw new MusterError('plan.invalid', `${path} ${message}`, { issues: [{ path, message }] })
      }
    }
    const { definitions, tools } = await this.#journal.manifest()
    const issues: Issue[] = []
    for (const [id, step] of Object.entries(plan.steps)) {
      if ('tool' in step && !tools.some((tool) => tool.name === step.tool))
        issues.push({ path: `/plan/steps/${id}/tool`, message: `no tool "${step.tool}"` })
      if ('agent' in step && !definitions.some((d) => d.kind === 'agent' && d.name === step.agent))
        issues.push({ path: `/plan/steps/${id}/agent`, message: `no agent "${step.agent}"` })
    }
    if (issues.length > 0)
      throw new MusterError('plan.invalid', issues.map((issue) => `${issue.path}: ${issue.message}`).join('; '), {
        issues,
      })
  }
}
