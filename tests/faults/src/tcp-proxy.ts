import { connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP proxy on a free port of this machine, which can do to its connections what networks do. */
export class TcpProxy {
  readonly #server: Server
  readonly #links = new Set<Link>()
  #delayMs = 0

  private constructor(server: Server) {
    this.#server = server
  }

  static open(target: number): Promise<TcpProxy> {
    return new Promise((resolve, reject) => {
      const server = createServer((client) => proxy.#join(client, connect(target, '127.0.0.1')))
      const proxy = new TcpProxy(server)
      server.once('error', reject)
      server.listen(0, '127.0.0.1', () => resolve(proxy))
    })
  }

  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy is closed')
    return address.port
  }

  /** Breaks every connection off; new ones are taken. */
  cut(): void {
    for (const { client, target } of this.#links) {
      client.resetAndDestroy()
      target.resetAndDestroy()
    }
  }

  /** What is sent from now on comes so much later, ms. */
  delay(ms: number): void {
    this.#delayMs = ms
  }

  /**
   * From now on nothing comes through on the connections that there are, and neither side is told, as when a load
   * balancer has forgotten them. New ones work.
   */
  blackhole(): void {
    for (const link of this.#links) link.silent = true
  }

  close(): Promise<void> {
    this.cut()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }

  #join(client: Socket, target: Socket): void {
    const link: Link = { client, target, silent: false }
    this.#links.add(link)
    const part = () => {
      this.#links.delete(link)
      client.destroy()
      target.destroy()
    }
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      const pipe = new Pipe(to)
      from.on('data', (bytes) => {
        if (!link.silent) pipe.send(bytes, this.#delayMs)
      })
      from.on('error', part)
      from.on('close', part)
    }
  }
}

interface Link {
  readonly client: Socket
  readonly target: Socket
  silent: boolean
}

/** One direction of a connection: bytes come late, and in order though the delay changes. */
class Pipe {
  readonly #to: Socket
  readonly #late: { bytes: Buffer; due: number }[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(to: Socket) {
    this.#to = to
  }

  send(bytes: Buffer, delayMs: number): void {
    if (delayMs === 0 && this.#late.length === 0) {
      this.#to.write(bytes)
      return
    }
    this.#late.push({ bytes, due: performance.now() + delayMs })
    this.#timer ??= setTimeout(this.#release, delayMs)
  }

  readonly #release = (): void => {
    this.#timer = undefined
    for (let next = this.#late[0]; next; next = this.#late[0]) {
      const wait = next.due - performance.now()
      if (wait > 0) {
        this.#timer = setTimeout(this.#release, wait)
        return
      }
      this.#late.shift()
      if (!this.#to.destroyed) this.#to.write(next.bytes)
    }
  }
}
