/**
 * The one error hierarchy. Every error that a user can meet has a stable code, an HTTP status and a
 * hint that says what to do next; `docs/reference/errors.md` lists them and a test keeps it complete.
 */
export const errorCatalog = {
  'auth.missing_key': [
    401,
    'No API key',
    'Send "Authorization: Bearer <key>". `muster dev` writes one to dev-key in MUSTER_HOME.',
  ],
  'auth.invalid_key': [401, 'Unknown API key', 'Check the key; in development it is in dev-key in MUSTER_HOME.'],
  'auth.expired_key': [401, 'The API key has expired', 'Ask who made it for a new one, or for more time.'],
  'auth.revoked_key': [401, 'The API key was revoked', 'Ask who made it for a new one.'],
  'auth.unavailable': [503, 'API keys cannot be looked up at present', 'Try again in a moment; the key may be right.'],
  'auth.forbidden': [403, 'Not allowed for this key', 'Use a key whose roles allow this.'],
  'key.not_found': [404, 'No such API key', 'List keys with `muster key list` or GET /v1/keys.'],
  'key.exists': [409, 'There is such an API key already', 'Choose another id; that of a revoked key stays taken.'],
  'key.too_many': [409, 'The tenant has had as many API keys as it may', 'Rotate or change those that there are.'],
  'key.revoked': [409, 'The API key is revoked', 'Make a new one: what is revoked stays so.'],
  'key.in_file': [409, 'The API key stands in the keys file', 'Change MUSTER_KEYS_FILE, and restart the servers.'],
  'key.conflict': [409, 'The API key changed meanwhile', 'Look at it again, and repeat what is still wanted.'],
  'request.invalid': [400, 'Invalid request', 'Correct what the message names.'],
  'request.invalid_json': [
    400,
    'The body is not JSON',
    'Correct the JSON; a body goes with Content-Type: application/json.',
  ],
  'request.too_large': [
    413,
    'The body is too large',
    'Bodies are limited to 1 MB; put large content in a store and pass a reference.',
  ],
  'request.not_found': [404, 'No such resource', 'See /openapi.json for the paths.'],
  'request.unsupported_media_type': [415, 'Unsupported content type', 'Send Content-Type: application/json.'],
  'idempotency.conflict': [
    409,
    'The idempotency key was used for another request',
    'Use a new Idempotency-Key for a different body.',
  ],
  'run.not_found': [404, 'No such run', 'List runs with `muster runs` or GET /v1/runs.'],
  'run.ended': [409, 'The run has ended', 'Start a new run.'],
  'run.not_ended': [409, 'The run has not ended', 'Wait for its end, or cancel it first.'],
  'run.not_forkable': [
    409,
    'The run cannot be begun again from there',
    'Name a step that the run has taken, or begin from its start.',
  ],
  'run.not_paused': [409, 'The run is not paused', 'Nothing to do: it goes on as it is.'],
  'run.paused': [409, 'The run is paused already', 'Resume it, or leave it paused.'],
  'run.inbox_full': [
    429,
    'Too many messages wait for the run',
    'Wait until it has taken some; see what it waits for in GET /v1/runs/<id>.',
  ],
  'callback.invalid': [
    401,
    'The callback token is not valid',
    'Send the token as the tool was given it. Servers and workers must have the same MUSTER_SECRET.',
  ],
  'callback.expired': [410, 'The callback came too late', 'Give the callback a longer timeoutMs.'],
  'schedule.invalid': [422, 'Invalid schedule', 'Correct what the message names.'],
  'schedule.not_found': [404, 'No such schedule', 'List schedules with `muster schedules` or GET /v1/schedules.'],
  'schedule.too_many': [429, 'Too many schedules', 'Delete some that have ended.'],
  'webhook.invalid': [422, 'Invalid webhook', 'Correct what the message names.'],
  'webhook.not_found': [404, 'No such webhook', 'List webhooks with `muster webhooks` or GET /v1/webhooks.'],
  'webhook.too_many': [429, 'Too many webhooks', 'Remove one that is not needed.'],
  'delivery.not_found': [404, 'No such delivery', 'See GET /v1/webhooks/<id>/deliveries; it has the last of a week.'],
  'signal.unknown': [
    404,
    'The run takes no such signal',
    "Declare it in the plan's signals, or use one of those named.",
  ],
  'run.cancelled': [409, 'The run was cancelled', 'Start a new run.'],
  'run.deadline': [408, 'The run exceeded its wall time', 'Raise limits.wallTime or split the work.'],
  'child.too_many': [422, 'Too many child runs', 'Raise limits.children, or let children start others.'],
  'child.too_deep': [422, 'Child runs are nested too deep', 'Raise limits.depth, or ask fewer agents through others.'],
  'definition.not_found': [404, 'No such agent or plan', 'Start a worker whose app exports it, or check the name.'],
  'definition.invalid': [400, 'Invalid definition', 'Correct the definition named in the message.'],
  'definition.absent': [
    503,
    'No worker carries this version',
    'Start a worker with the version that the run is pinned to.',
  ],
  'input.invalid': [422, 'The input does not match the schema', 'Correct what the message names.'],
  'output.invalid': [
    500,
    'The output does not match the schema',
    'Correct the tool or the instructions so that the output matches.',
  ],
  'plan.invalid': [422, 'Invalid plan', 'Correct what the message names.'],
  'plan.cycle': [422, 'The plan has a cycle', 'Remove one of the references in the cycle.'],
  'plan.unknown_reference': [
    422,
    'A reference names a step that does not exist',
    'Refer to #/input/… or #/steps/<step>/output/….',
  ],
  'plan.non_deterministic': [
    409,
    'The plan changed under a running run',
    'Finish old runs on the old version, or publish a new version.',
  ],
  'plan.astray': [
    500,
    'The plan waits for something that is none of its steps',
    'Await what `step` gives; put other work into step.run(name, () => …).',
  ],
  'plan.failed': [500, 'The plan threw', 'See the message; the error is thrown by the plan itself.'],
  'policy.denied': [403, 'Policy denied the step', 'The policies are named in the decision; ask their owner.'],
  'policy.invalid': [400, 'Invalid policy', 'Correct the policy at the line and column given.'],
  'policy.not_found': [404, 'No such policy set', 'List policy sets with GET /v1/policies.'],
  'approval.denied': [403, 'The approval was refused', 'See who refused it in the trace.'],
  'approval.not_found': [404, 'Nothing waits for this approval', 'Read the run to see what it waits for.'],
  'approval.mismatch': [409, 'The approval is for something else', 'Read the run again and approve what it shows now.'],
  'approval.late': [409, 'It has been answered already', 'See the answer in the trace.'],
  'approval.expired': [410, 'Nobody approved in time', 'Start it anew, or give @expires more time.'],
  'approval.repeated': [
    409,
    'This person has approved it already',
    'Another person with the role must approve as well.',
  ],
  'approval.by_requester': [403, 'Whoever began the run may not approve it', 'Ask somebody else with the role.'],
  'approval.reason_required': [422, 'The answer must say why', 'Send a reason with it.'],
  'approval.not_editable': [
    422,
    'What is shown cannot be edited',
    "Only a tool's input can; approve or refuse it as it is.",
  ],
  'budget.exceeded': [
    402,
    'The budget is used up',
    'Raise the budget that it names, or the limit in the agent or plan, or wait until it begins anew.',
  ],
  'budget.not_found': [
    404,
    'There is no such budget',
    'See `muster budgets` or GET /v1/budgets for those that there are.',
  ],
  'limit.not_found': [
    404,
    'No such limit was set',
    'See `muster limits` or GET /v1/limits for those that were; those of MUSTER_LIMITS stay as the deployment has them.',
  ],
  'limit.too_many': [
    409,
    'Too many limits are set',
    'Remove some, or set one for `user:*`, `team:*` or `key:*` in place of many.',
  ],
  'quota.exceeded': [429, 'No more runs may be begun in this period', 'Wait as Retry-After says, or raise the budget.'],
  'stop.active': [423, 'It is stopped', 'Lift the stop first: `muster lift <name>`.'],
  'stop.not_found': [404, 'It is not stopped', 'See `muster stops` or GET /v1/stops for what is.'],
  'step.in_doubt': [
    409,
    'It is unknown whether the step took effect',
    'A person must look at the outside system and decide.',
  ],
  'step.timeout': [504, 'The step timed out', 'Raise its timeout or make the tool faster.'],
  'tool.failed': [500, 'The tool failed', 'See the message; the error is thrown by the tool itself.'],
  'tool.not_found': [404, 'No such tool', 'Use one of the tools that the definition lists.'],
  'model.failed': [502, 'The model call failed', 'See the message from the provider.'],
  'model.unavailable': [
    503,
    'The model cannot be reached',
    'Check the provider, MUSTER_MODELS or MUSTER_MODEL_BASE_URL, and the network.',
  ],
  'model.unsupported': [
    422,
    'The model cannot be asked this',
    'Leave out what errors lists, or lead the route to a target that takes it; docs/guides/models.md has a table.',
  ],
  'model.no_price': [500, 'No price for this model', 'Add it by MUSTER_PRICES, or give the target a `price`.'],
  'route.refused': [
    422,
    'No target of the route may have this',
    'The message says which labels or sizes its targets are for, and which other routes may have it.',
  ],
  'route.open': [
    503,
    'The target is passed over for a while',
    'It has failed often of late. It is tried again by itself; see what its provider says.',
  ],
  'model.context_full': [
    422,
    'The conversation is too long',
    "Set the agent's context.compactAt and context.trimToolResults, or raise its context.maxTokens.",
  ],
  'model.blocked': [
    422,
    'A guardrail blocked the call',
    'See the message for what it found. Change the input, or the guardrail that MUSTER_GUARDRAIL names.',
  ],
  'model.not_found': [404, 'No such model', 'GET /v1/models lists those that there are.'],
  'model.not_allowed': [403, 'This key may not use the model', 'Ask for a key whose `gateway.routes` has it.'],
  'gateway.off': [404, 'There is no gateway', 'Start the server with MUSTER_GATEWAY=on, MUSTER_POLICY and a model.'],
  'gateway.not_ready': [503, 'The gateway is not ready', 'Try again in a moment; the message says what it waits for.'],
  'gateway.closing': [503, 'The server is shutting down', 'Send the request again: another server takes it.'],
  'gateway.interrupted': [
    503,
    'The server ended before the answer was whole',
    'Send the request again. What was set aside for the call counts as used.',
  ],
  'gateway.stalled': [408, 'The client has stopped reading', 'Read the answer as it comes.'],
  'response.not_found': [404, 'No such response', 'Only responses with `store` are kept, for the user who made them.'],
  'response.kept': [
    403,
    'Clients delete no response',
    'Send it with `store: false` to have it read by nobody by its id. `MUSTER_RETENTION` and `muster erase` remove content.',
  ],
  'journal.newer': [
    503,
    'The journal was written by a newer Muster',
    'Start a worker of that version, or a later one; until then the run waits.',
  ],
  'journal.fenced': [409, 'Another worker holds the run', 'Nothing to do: the other worker continues it.'],
  'journal.partitions': [
    500,
    'The runs were spread over another number of partitions',
    'Set MUSTER_PARTITIONS to the number in the message, or start on another MUSTER_NAMESPACE: with another number runs would not be found.',
  ],
  'journal.not_replicated': [
    503,
    'Too few replicas have it',
    'See to the replicas of Redis, then send it again with the same Idempotency-Key: it may be done already.',
  ],
  'journal.corrupt': [
    500,
    'The journal does not verify',
    'Run `muster verify <run>`; keep the data for an investigation.',
  ],
  'ledger.off': [
    404,
    'There is no ledger',
    'Give the workers a key: `muster ledger key`, then MUSTER_LEDGER_KEY_FILE.',
  ],
  'ledger.not_sealed': [
    404,
    'The ledger does not have it yet',
    'Ask again in a minute. What ended before the ledger was set up never enters it.',
  ],
  'ledger.corrupt': [
    500,
    'The ledger does not hold together',
    'Keep its data for an investigation, and compare it with what the witnesses have.',
  ],
  'ledger.key_invalid': [
    500,
    'A key of the ledger cannot be used',
    'Make one with `muster ledger key`, or name a key of KMS for ECC_NIST_EDWARDS25519.',
  ],
  'subject.erased': [
    409,
    'Content of this subject is being erased',
    'Start it again once the erasure is done: see GET /v1/erasures.',
  ],
  'erasure.not_found': [404, 'No such erasure', 'List erasures with `muster erasures` or GET /v1/erasures.'],
  'hold.not_found': [404, 'No such hold', 'List holds with `muster hold list` or GET /v1/holds.'],
  'hold.too_late': [409, 'It is being erased already', 'Nothing holds it any more: see GET /v1/erasures.'],
  'content.erased': [410, 'The content was erased', 'Its entries are there, and verify; the content is gone for good.'],
  'content.corrupt': [
    500,
    'Stored content does not open',
    'It was changed, or sealed by another key: restore the table, and see MUSTER_CONTENT_KEY_FILE.',
  ],
  'content.key_invalid': [
    500,
    'A key of content cannot be used',
    'Give the master key that wrapped it: MUSTER_CONTENT_KEY_FILE or MUSTER_CONTENT_KMS_KEY.',
  ],
  'memory.conflict': [409, 'The session changed meanwhile', 'Read it again and retry.'],
  'memory.too_large': [413, 'The item is too large', 'Split it, or store a reference.'],
  'memory.unavailable': [503, 'Memory cannot be reached', 'Check DYNAMODB_ENDPOINT and the AWS configuration.'],
  'redis.unavailable': [503, 'Redis cannot be reached', 'Check that Redis runs and REDIS_URL is right.'],
  'redis.unsafe': [500, 'Redis may lose data', 'Set maxmemory-policy noeviction.'],
  'redaction.invalid_token': [
    422,
    'A token cannot be restored',
    'Pass tokens exactly as they came, within their tenant. MUSTER_REDACT_SECRET must be the one that made them.',
  ],
  'redaction.too_large': [413, 'Too much text to be redacted', 'Split it, or keep it elsewhere and pass a reference.'],
  'codex.absent': [
    500,
    'Codex is not installed',
    'Install it, `npm install -g @openai/codex`, or see that `codex` is on the PATH.',
  ],
  'codex.config': [
    409,
    "Codex's configuration cannot be changed",
    'Correct the file, or put into it yourself what `muster codex --print` shows.',
  ],
  'codex.failed': [500, 'Codex did not do its task', 'See the message; it is what Codex ended with.'],
  'config.invalid': [
    500,
    'Invalid configuration',
    'Correct the environment variables named; `muster config` prints them all.',
  ],
  'server.unavailable': [503, 'No server answers', 'See that it runs, and that it can be reached from here.'],
  'port.taken': [500, 'The port is taken', 'Stop what listens there, or set another port (MUSTER_PORT for a server).'],
  'stack.missing': [500, 'A needed program is missing', 'Run the command given in the message.'],
  'rate.limited': [429, 'Too many requests', 'Wait as Retry-After says.'],
  internal: [500, 'Something went wrong inside Muster', 'Try again; report it with the time and the run id.'],
} as const satisfies Record<string, readonly [status: number, title: string, hint: string]>

export type ErrorCode = keyof typeof errorCatalog

/** What is wrong where: `path` is a JSON Pointer into the value that was sent (RFC 6901). */
export interface Issue {
  path: string
  message: string
}

/** Problem details as in RFC 9457, with the members `code`, `hint` and `errors` of our own. */
export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  code: ErrorCode
  hint: string
  errors?: Issue[]
}

/** An error that a user may see: never holds a secret, always says what to do. */
export class MusterError extends Error {
  override readonly name = 'MusterError'
  readonly code: ErrorCode
  readonly issues: Issue[] | undefined
  /** How long the other side asks to wait before the next try, ms. */
  readonly retryAfterMs: number | undefined

  constructor(
    code: ErrorCode,
    detail: string,
    options: { issues?: Issue[]; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.issues = options.issues
    this.retryAfterMs = options.retryAfterMs
  }

  get status(): number {
    return errorCatalog[this.code][0]
  }

  get hint(): string {
    return errorCatalog[this.code][2]
  }

  toProblem(): Problem {
    const [status, title, hint] = errorCatalog[this.code]
    return {
      type: `urn:muster:error:${this.code}`,
      title,
      status,
      detail: this.message,
      code: this.code,
      hint,
      ...(this.issues ? { errors: this.issues } : {}),
    }
  }
}

/** The error itself when it is ours, else `internal` (or `code`) around its message. */
export function toMusterError(error: unknown, code: ErrorCode = 'internal'): MusterError {
  if (error instanceof MusterError) return error
  return new MusterError(code, error instanceof Error ? error.message : String(error), { cause: error })
}
