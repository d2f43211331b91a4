/** Names of the Redis keys of one partition. All share its hash tag, so a script may touch any of them. */
export class Keys {
  /** The hash tag, also BullMQ's prefix. */
  readonly tag: string
  readonly pending: string
  readonly ended: string
  readonly manifest: string
  readonly mail: string

  constructor(namespace: string, partition = 0) {
    this.tag = `{${namespace}${partition}}`
    this.pending = `${this.tag}:pending`
    this.ended = `${this.tag}:seal`
    this.manifest = `${this.tag}:manifest`
    this.mail = `${this.tag}:mail`
  }

  run(id: string): string {
    return `${this.tag}:run:${id}`
  }

  log(id: string): string {
    return `${this.tag}:log:${id}`
  }

  inbox(id: string): string {
    return `${this.tag}:inbox:${id}`
  }

  index(tenant: string): string {
    return `${this.tag}:index:${tenant}`
  }

  idempotency(tenant: string, digest: string): string {
    return `${this.tag}:idempotency:${tenant}:${digest}`
  }
}
