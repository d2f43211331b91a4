import { Cluster, type Redis } from 'ioredis'

/** What ioredis writes to; it keeps it for itself. */
interface Socket {
  write(...args: unknown[]): boolean
  cork(): void
  uncork(): void
}

/** Commands that a connection is given one after the other leave it in one write. */
export function writeAtOnce(connection: Redis | Cluster): void {
  if (connection instanceof Cluster) {
    for (const node of connection.nodes()) writeAtOnce(node)
    connection.on('+node', writeAtOnce)
    return
  }
  connection.on('connect', () => gather((connection as unknown as { stream: Socket }).stream))
}

function gather(socket: Socket): void {
  const write = socket.write.bind(socket)
  let isCorked = false
  const release = () => {
    isCorked = false
    socket.uncork()
  }
  socket.write = (...args) => {
    if (!isCorked) {
      isCorked = true
      socket.cork()
      process.nextTick(release)
    }
    return write(...args)
  }
}
