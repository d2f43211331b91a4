import { createServer } from 'node:net'
import { MusterError } from '@muster/protocol'

/**
 * A port that is taken is said before anything is started.
 *
 * @param setting names it in the error
 * @throws MusterError `port.taken`, or `config.invalid` where the host is none of this machine
 */
export function requirePort(host: string, port: number, setting: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        cause.code === 'EADDRINUSE'
          ? new MusterError('port.taken', `Port ${port} on ${host} is taken (${setting})`, { cause })
          : new MusterError('config.invalid', `${setting}: nothing can listen on ${host}:${port}: ${cause.message}`, {
              cause,
            }),
      )
    })
    probe.listen(port, host, () => probe.close(() => resolve()))
  })
}
