import { type Logger, pino } from 'pino'

/** Bytes of the log that wait while it takes none; what comes then is lost. */
const WAITING_MAX = 1 << 20

/**
 * What of an error is logged. Clients of databases put what was asked into theirs (`command` of ioredis), and with it what
 * runs work on, which is in no log.
 */
function err(error: Error): object {
  const { type, message, stack } = pino.stdSerializers.err(error)
  const { code } = error as { code?: unknown } // whatever was thrown
  return { type, ...(typeof code === 'string' ? { code } : {}), message, stack }
}

/** A log of lines of JSON into a file that is open. */
export function openLog(level: string, name: string, fd: number): Logger {
  const output = pino.destination({ dest: fd, sync: true, maxLength: WAITING_MAX })
  output.on('error', () => {}) // A full disk, say: lines wait until it has room, and a line less is no reason to end.
  return pino({ level, name, serializers: { err } }, output)
}
