/** The most that an answer, or one event of it, may have, bytes. */
export const ANSWER_MAX = 32 << 20
/** Of a stream all events together: each is far larger than the token that it tells of. */
export const STREAM_MAX = 8 * ANSWER_MAX
/** How long a server may take to end what is whole. */
const END_MS = 1000

/** What comes of an answer. */
export interface Bytes {
  readonly isOver: boolean
  /** What has come since; undefined at the end. Throws where it breaks off. */
  take(): Promise<Buffer | undefined>
  /** Nobody reads on. */
  leave(): void
}

export interface Answered {
  isStream: boolean
  /** Bytes that have come of what is asked for all at once. */
  size: number
  /** As they come. Throws where it breaks off or is too large. */
  bytes(): AsyncGenerator<Buffer>
  /** All of it at once. */
  whole(): Promise<Buffer>
  /** Nobody reads it. */
  leave(): void
  /** Nothing more is to come: the connection is kept if it ends soon. */
  endSoon(): void
}

/** @param thrown what is thrown in place of what `incoming` throws, or of a `TooLarge` */
export function answeredBy(incoming: Bytes, isStream: boolean, thrown: (error: unknown) => unknown): Answered {
  const answered: Answered = {
    ...{ isStream, size: 0 },
    bytes: () => bytesOf(incoming, isStream ? STREAM_MAX : ANSWER_MAX, thrown),
    whole: () => wholeOf(incoming, answered, thrown),
    leave: () => incoming.leave(),
    endSoon() {
      if (!incoming.isOver) setTimeout(() => incoming.leave(), END_MS).unref()
    },
  }
  return answered
}

/** An answer is longer than any that is read. */
export class TooLarge extends Error {
  constructor(max: number) {
    super(`gave more than ${max} bytes`)
  }
}

/** No more than `max`, as they come. */
export async function* bytesOf(
  incoming: Bytes,
  max: number,
  thrown: (error: unknown) => unknown,
): AsyncGenerator<Buffer> {
  let size = 0
  try {
    for (let bytes = await incoming.take(); bytes; bytes = await incoming.take()) {
      size += bytes.length
      if (size > max) throw new TooLarge(max)
      yield bytes
    }
  } catch (error) {
    throw thrown(error)
  } finally {
    incoming.leave()
  }
}

/** Without a generator, which costs more than a small answer. */
async function wholeOf(incoming: Bytes, of: Answered, thrown: (error: unknown) => unknown): Promise<Buffer> {
  const parts: Buffer[] = []
  try {
    for (let bytes = await incoming.take(); bytes; bytes = await incoming.take()) {
      of.size += bytes.length
      if (of.size > ANSWER_MAX) throw new TooLarge(ANSWER_MAX)
      parts.push(bytes)
    }
  } catch (error) {
    incoming.leave()
    throw thrown(error)
  }
  const [first = Buffer.alloc(0)] = parts
  return parts.length > 1 ? Buffer.concat(parts) : first
}
