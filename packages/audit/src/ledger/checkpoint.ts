import { HASH_LENGTH, type Hash } from './merkle.ts'
import { base64, type Note, parseNote, type Verified, type Verifier, verifySignatures } from './note.ts'

/** The head of a log, as in C2SP tlog-checkpoint: <https://c2sp.org/tlog-checkpoint>. */
export interface Checkpoint {
  /** Names the log. */
  origin: string
  size: number
  root: Hash
}

/** The text of the note that says it. */
export function checkpointText({ origin, size, root }: Checkpoint): string {
  if (origin === '' || origin.includes('\n')) throw new TypeError('a log has a name of one line')
  return `${origin}\n${size}\n${Buffer.from(root).toString('base64')}\n`
}

/** Reads a checkpoint's text; undefined where it is not exactly what `checkpointText` writes. Extensions are refused: nobody audits them. */
export function parseCheckpoint(text: string): Checkpoint | undefined {
  const [origin = '', digits = '', encoded = '', ...rest] = text.split('\n')
  const root = base64(encoded)
  if (origin === '' || rest.length !== 1 || rest[0] !== '' || root?.length !== HASH_LENGTH) return undefined
  const size = Number(digits)
  if (!/^(0|[1-9]\d*)$/.test(digits) || !Number.isSafeInteger(size)) return undefined
  return { origin, size, root }
}

/** A checkpoint that a key of its log has signed, and all signatures that hold. */
export interface OpenCheckpoint extends Checkpoint {
  note: Note
  verified: Verified[]
}

/**
 * Reads a signed checkpoint. It is undefined unless one of the log's keys has signed it; witnesses' keys among those given
 * do not make it trusted.
 */
export function openCheckpoint(text: string, origin: string, keys: readonly Verifier[]): OpenCheckpoint | undefined {
  const note = parseNote(text)
  const checkpoint = note && parseCheckpoint(note.text)
  if (!note || checkpoint?.origin !== origin) return undefined
  const verified = verifySignatures(note, keys)
  // One physical key may sign for several ledgers, each under its own name.
  const ofLog = new Set(keys.filter(({ type, name }) => type === 'ed25519' && name === origin).map(({ vkey }) => vkey))
  if (!verified?.some(({ vkey }) => ofLog.has(vkey))) return undefined
  return { ...checkpoint, note, verified }
}
