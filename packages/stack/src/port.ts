import { createServer } from 'node:net'
import { MusterError } from '@muster/protocol'

/** A TCP port of 127.0.0.1 that nothing listens on. It is not reserved: bind it soon. */
export async function freePort(): Promise<number> {
  return await listenOnce(0)
}

/**
 * Refuses a port that something listens on already.
 *
 * @throws MusterError `port.taken` naming the port and what it was for
 */
export async function requireFreePort(port: number, purpose: string): Promise<void> {
  try {
    await listenOnce(port)
  } catch (error) {
    throw portTaken(port, purpose, error)
  }
}

/** Whether nothing listens on this port of 127.0.0.1. */
export async function isPortFree(port: number): Promise<boolean> {
  return await listenOnce(port).then(
    () => true,
    () => false,
  )
}

/** The error for a port that could not be bound. */
export function portTaken(port: number, purpose: string, cause?: unknown): MusterError {
  return new MusterError('port.taken', `Port ${port} for ${purpose} cannot be bound on 127.0.0.1`, { cause })
}

function listenOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => {
        if (address === null || typeof address === 'string') reject(new Error('The probe socket has no port'))
        else resolve(address.port)
      })
    })
  })
}
