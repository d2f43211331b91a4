import { createPublicKey, hash, type KeyObject, verify } from 'node:crypto'

/** Signed notes as in C2SP signed-note, with Ed25519: <https://c2sp.org/signed-note>. */

/** What a key signs: a note's text, or the note with a time as a cosigner does (C2SP tlog-cosignature). */
export type SignatureType = 'ed25519' | 'cosignature/v1'

const TYPE_BYTES = { ed25519: 0x01, 'cosignature/v1': 0x04 } as const
const PUBLIC_KEY_LENGTH = 32
const SIGNATURE_LENGTH = 64
const KEY_ID_LENGTH = 4
const TIME_LENGTH = 8
/** More than anyone needs, and few enough to check. */
const SIGNATURES_MAX = 100

/** A key that verifies signatures, as its vkey says: `<name>+<key id>+<base64 of type and key>`. */
export interface Verifier {
  name: string
  /** 8 hexadecimal digits. */
  keyId: string
  type: SignatureType
  vkey: string
  publicKey: Uint8Array
  key: KeyObject
}

/** A key that signs bytes with Ed25519, wherever it is kept. */
export interface Signer {
  /** 32 bytes. */
  publicKey: Uint8Array
  sign(message: Uint8Array): Promise<Uint8Array>
}

export interface NoteSignature {
  name: string
  keyId: string
  /** What follows the key id. */
  signature: Uint8Array
}

export interface Note {
  /** Ends with a line feed. */
  text: string
  signatures: NoteSignature[]
}

/** Whether a key may have this name: no white space, no `+`. */
export function isKeyName(name: string): boolean {
  return name !== '' && name.isWellFormed() && !/[\p{White_Space}\p{Cc}+]/u.test(name)
}

/** What a key is called in signatures, and as it is handed out. */
export function keyNames(
  name: string,
  publicKey: Uint8Array,
  type: SignatureType = 'ed25519',
): Pick<Verifier, 'keyId' | 'vkey'> {
  if (!isKeyName(name)) throw new TypeError(`"${name}" cannot name a key`)
  if (publicKey.length !== PUBLIC_KEY_LENGTH) throw new TypeError('a public key of Ed25519 has 32 bytes')
  const typed = Buffer.concat([Uint8Array.of(TYPE_BYTES[type]), publicKey])
  const keyId = hash('sha256', Buffer.concat([Buffer.from(`${name}\n`), typed])).slice(0, 2 * KEY_ID_LENGTH)
  return { keyId, vkey: `${name}+${keyId}+${typed.toString('base64')}` }
}

export function newVerifier(name: string, publicKey: Uint8Array, type: SignatureType = 'ed25519'): Verifier {
  const { keyId, vkey } = keyNames(name, publicKey, type)
  const key = createPublicKey({
    format: 'jwk',
    key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(publicKey).toString('base64url') },
  })
  return { name, keyId, type, vkey, publicKey, key }
}

/** The key that a vkey names; undefined where it is none, or of a type that is not known here. */
export function parseVerifier(vkey: string): Verifier | undefined {
  // Base64 has plus signs too.
  const [, name = '', keyId, encoded = ''] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/s.exec(vkey) ?? []
  const typed = base64(encoded)
  if (!isKeyName(name) || !typed || typed.length !== 1 + PUBLIC_KEY_LENGTH) return undefined
  const type =
    typed[0] === TYPE_BYTES.ed25519 ? 'ed25519' : typed[0] === TYPE_BYTES['cosignature/v1'] ? 'cosignature/v1' : ''
  if (type === '') return undefined
  const verifier = newVerifier(name, typed.subarray(1), type)
  return verifier.keyId === keyId ? verifier : undefined
}

/** The bytes, where the text is standard base64 with its padding, written as an encoder would. */
export function base64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

/** Signs a note's text under a name; of a cosigner `at` is the time, in seconds. */
export async function signNote(text: string, name: string, signer: Signer): Promise<NoteSignature> {
  return { ...identity(name, signer, 'ed25519'), signature: await signer.sign(Buffer.from(noteText(text))) }
}

/** Cosigns a checkpoint's text at a time, in seconds since the epoch. */
export async function cosign(text: string, name: string, signer: Signer, at: number): Promise<NoteSignature> {
  const time = Buffer.alloc(TIME_LENGTH)
  time.writeBigUInt64BE(BigInt(at))
  const signature = await signer.sign(cosigned(noteText(text), BigInt(at)))
  return { ...identity(name, signer, 'cosignature/v1'), signature: Buffer.concat([time, signature]) }
}

function identity(name: string, { publicKey }: Signer, type: SignatureType): { name: string; keyId: string } {
  return { name, keyId: keyNames(name, publicKey, type).keyId }
}

function cosigned(text: string, at: bigint): Buffer {
  return Buffer.from(`cosignature/v1\ntime ${at}\n${text}`)
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const CONTROL = /[\0-\x09\x0b-\x1f]/

function noteText(text: string): string {
  if (text.endsWith('\n') && text.isWellFormed() && !CONTROL.test(text)) return text
  throw new TypeError('the text of a note ends with a line feed and has no other control characters')
}

export function formatNote({ text, signatures }: Note): string {
  return `${noteText(text)}\n${signatures.map(formatSignature).join('')}`
}

/** A signature's line, with its line feed. */
export function formatSignature({ name, keyId, signature }: NoteSignature): string {
  if (!isKeyName(name)) throw new TypeError(`"${name}" cannot name a key`)
  return `— ${name} ${Buffer.concat([Buffer.from(keyId, 'hex'), signature]).toString('base64')}\n`
}

/** Reads a note, and trusts nothing of it yet; undefined where it is not written as a note is. */
export function parseNote(note: string): Note | undefined {
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n') || !note.isWellFormed() || CONTROL.test(note)) return undefined
  const signatures = parseSignatures(note.slice(end + 2))
  return signatures && { text: note.slice(0, end + 1), signatures }
}

/** Reads lines of signatures. */
export function parseSignatures(text: string): NoteSignature[] | undefined {
  if (!text.endsWith('\n')) return undefined
  const lines = text.slice(0, -1).split('\n')
  if (lines.length > SIGNATURES_MAX) return undefined
  const signatures: NoteSignature[] = []
  for (const line of lines) {
    const [, name = '', encoded = ''] = /^— (\S+) (\S+)$/u.exec(line) ?? []
    const bytes = base64(encoded)
    if (!isKeyName(name) || !bytes || bytes.length <= KEY_ID_LENGTH) return undefined
    signatures.push({
      name,
      keyId: bytes.toString('hex', 0, KEY_ID_LENGTH),
      signature: bytes.subarray(KEY_ID_LENGTH),
    })
  }
  return signatures
}

/** A signature that holds; of a cosigner also when it was made, in seconds. */
export interface Verified {
  vkey: string
  at?: number
}

/**
 * The signatures of a note that these keys made; signatures of others say nothing. Undefined where one names one of
 * the keys and does not hold: such a note is to be refused, whatever else it says.
 */
export function verifySignatures({ text, signatures }: Note, keys: readonly Verifier[]): Verified[] | undefined {
  const verified = new Map<string, Verified>()
  for (const one of signatures) {
    const key = keys.find(({ name, keyId }) => name === one.name && keyId === one.keyId)
    if (!key) continue
    const found = check(text, one.signature, key)
    if (!found) return undefined
    verified.set(key.vkey, found)
  }
  return [...verified.values()]
}

function check(text: string, signature: Uint8Array, { type, key, vkey }: Verifier): Verified | undefined {
  if (type === 'ed25519') {
    const holds = signature.length === SIGNATURE_LENGTH && verify(null, Buffer.from(text), key, signature)
    return holds ? { vkey } : undefined
  }
  if (signature.length !== TIME_LENGTH + SIGNATURE_LENGTH) return undefined
  const at = Buffer.from(signature).readBigUInt64BE()
  const holds = verify(null, cosigned(text, at), key, signature.subarray(TIME_LENGTH))
  return holds && at <= BigInt(Number.MAX_SAFE_INTEGER) ? { vkey, at: Number(at) } : undefined
}
