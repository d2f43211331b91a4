/** The queue of what goes to webhooks, in the first partition only. */
export const WEBHOOK_QUEUE = 'webhooks'

/** A priority class: 0 is taken first. */
export type PriorityClass = 0 | 1 | 2

/** Names of the Redis keys of one partition. All share its hash tag, so a script may touch any of them. */
export class Keys {
  /** The hash tag, also BullMQ's prefix. */
  readonly tag: string
  readonly pending: string
  readonly ended: string
  /** Parked runs that are to be taken up at a time, by that time. */
  readonly wake: string
  /** Tenants that have webhooks, and the events that their runs leave for these. */
  readonly hooked: string
  readonly events: string
  /** Runs that ask people something, by tenant: `<tenant>\0<run>`. */
  readonly asking: string
  /** Tenants with heads that are to enter the ledger, by the time of the oldest. */
  readonly unsealed: string
  /** Tenants with a checkpoint that witnesses are to see, by its size; in the first partition only. */
  readonly unwitnessed: string
  /** Tenants whose record books may have grown since, and how far their heads were sent; in the first partition only. */
  readonly recording: string
  readonly recorded: string
  readonly manifest: string
  /** Policy sets that workers have decided by; in the first partition only. */
  readonly policies: string
  readonly mail: string
  /** Processes that hold runs which no queue knows of, by when they count as dead. */
  readonly holders: string
  /** Workers that live, by name; in the first partition only. */
  readonly workers: string
  /** Schedules by their next firing; in the first partition only. */
  readonly firings: string
  /** What the feed remembers between two calls. */
  readonly feed: string
  readonly weights: string
  /** How many partitions there are; in the first of them only. */
  readonly count: string
  /** Written to learn how far replicas have come. */
  readonly mark: string

  constructor(namespace: string, partition = 0) {
    this.tag = `{${namespace}${partition}}`
    this.pending = `${this.tag}:pending`
    this.ended = `${this.tag}:seal`
    this.wake = `${this.tag}:wake`
    this.hooked = `${this.tag}:hooked`
    this.events = `${this.tag}:events`
    this.asking = `${this.tag}:asking`
    this.unsealed = `${this.tag}:unsealed`
    this.unwitnessed = `${this.tag}:unwitnessed`
    this.recording = `${this.tag}:recording`
    this.recorded = `${this.tag}:recorded`
    this.manifest = `${this.tag}:manifest`
    this.policies = `${this.tag}:policies`
    this.holders = `${this.tag}:holders`
    this.mail = `${this.tag}:mail`
    this.workers = `${this.tag}:workers`
    this.firings = `${this.tag}:firings`
    this.feed = `${this.tag}:feed`
    this.weights = `${this.tag}:weights`
    this.count = `${this.tag}:partitions`
    this.mark = `${this.tag}:mark`
  }

  run(id: string): string {
    return `${this.tag}:run:${id}`
  }

  /** All there is of a run that nobody has taken yet. */
  queued(id: string): string {
    return `${this.tag}:new:${id}`
  }

  /** The runs that such a process holds. */
  holding(holder: string): string {
    return `${this.tag}:hold:${holder}`
  }

  log(id: string): string {
    return `${this.tag}:log:${id}`
  }

  inbox(id: string): string {
    return `${this.tag}:inbox:${id}`
  }

  /** That a message with this digest of its idempotency key has come. */
  told(run: string, digest: string): string {
    return `${this.tag}:told:${run}:${digest}`
  }

  index(tenant: string): string {
    return `${this.tag}:index:${tenant}`
  }

  backlog(priority: PriorityClass, tenant: string): string {
    return `${this.tag}:backlog:${priority}:${tenant}`
  }

  /** Tenants of a class by virtual time. */
  turns(priority: PriorityClass): string {
    return `${this.tag}:turns:${priority}`
  }

  policySet(hash: string): string {
    return `${this.tag}:policies:${hash}`
  }

  shape(digest: string): string {
    return `${this.tag}:shape:${digest}`
  }

  idempotency(tenant: string, digest: string): string {
    return `${this.tag}:idempotency:${tenant}:${digest}`
  }

  schedule(id: string): string {
    return `${this.tag}:schedule:${id}`
  }

  /** What models are writing for a run, and that somebody listens to it. */
  live(run: string): string {
    return `${this.tag}:live:${run}`
  }

  listens(run: string): string {
    return `${this.tag}:listens:${run}`
  }

  /** A tenant's schedules. */
  schedules(tenant: string): string {
    return `${this.tag}:schedules:${tenant}`
  }

  webhooks(tenant: string): string {
    return `${this.tag}:webhooks:${tenant}`
  }

  /** Attempts to deliver to a webhook. */
  deliveries(webhook: string): string {
    return `${this.tag}:deliveries:${webhook}`
  }

  /** Who holds how much of a limit. */
  slices(limit: string): string {
    return `${this.tag}:slices:${limit}`
  }

  /** Heads of a tenant's runs on their way to its ledger. */
  heads(tenant: string): string {
    return `${this.tag}:heads:${tenant}`
  }

  /** Who appends to a tenant's ledger; in the first partition only. */
  sealer(tenant: string): string {
    return `${this.tag}:sealer:${tenant}`
  }

  /** Stops, budgets and limits that were set while servers and workers run, of all tenants. */
  get controls(): string {
    return `${this.tag}:controls`
  }

  /** Hashes of API keys that have changed, of all tenants: servers look at them anew. */
  get changedKeys(): string {
    return `${this.tag}:changed-keys`
  }

  /** Stops whose lifting some run waits for, as they stand in `controls`. */
  get awaited(): string {
    return `${this.tag}:awaited`
  }

  /** Runs that wait for a stop to be lifted. */
  stopped(tenant: string, name: string): string {
    return `${this.tag}:stopped:${tenant}:${name}`
  }

  /** What was used of a budget, and until when what is set aside of it is held. */
  spent(account: string): string {
    return `${this.tag}:spent:${account}`
  }

  held(account: string): string {
    return `${this.tag}:held:${account}`
  }

  /** What the runs of a tenant have cost on a day, in its first books or in those of this name; `costs.lua` has it too. */
  costs(tenant: string, day: string, books = ''): string {
    return books === '' ? `${this.tag}:costs:${day}:${tenant}` : `${this.tag}:book:${books}:${day}:${tenant}`
  }

  /** Which books of costs a tenant has, and runs that those which are being made anew have had while they were. */
  books(tenant: string): string {
    return `${this.tag}:cost-books:${tenant}`
  }

  booked(tenant: string): string {
    return `${this.tag}:cost-booked:${tenant}`
  }

  /** That a run was counted. */
  counted(tenant: string, run: string): string {
    return `${this.tag}:counted:${run}:${tenant}`
  }

  /** A key of BullMQ's own: one of the lists of a queue, such as `wait`, or a job by its id. */
  ofQueue(queue: string, name: string): string {
    return `${this.tag}:${queue}:${name}`
  }
}

/** A run among those that ask people something: a tenant's stand together, by their age. */
export function askingMember(tenant: string, run: string): string {
  return `${tenant}\0${run}`
}
