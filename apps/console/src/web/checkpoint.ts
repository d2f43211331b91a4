import { type Bytes, concat, fromBase64, hex, sha256, utf8 } from './bytes.ts'
import type { Tree } from './merkle.ts'

/** Signed heads of ledgers, as packages/audit/src/ledger has them: C2SP tlog-checkpoint in signed-note, Ed25519. */

/** Why something is not proven. */
export class Unproven extends Error {}

/** A key that verifies, as its vkey says. Only a witness's key says when it signed. */
interface Key {
  vkey: string
  name: string
  keyId: string
  isWitness: boolean
  publicKey: Bytes
}

/** A signature that holds. */
interface Signer {
  name: string
  keyId: string
  /** When a witness signed, in seconds. */
  at?: number
}

export interface SignedHead extends Tree {
  origin: string
  /** Absent where this browser has no Ed25519: then nothing says who signed. */
  signers?: Signer[]
}

const ED25519 = 0x01
const COSIGNATURE = 0x04
const TYPED_KEY_LENGTH = 33
const KEY_ID_LENGTH = 4
const SIGNATURE_LENGTH = 64
const TIME_LENGTH = 8
const HASH_LENGTH = 32
/** More than anyone needs, and few enough to check. */
const SIGNATURES_MAX = 100

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const CONTROL = /[\0-\x09\x0b-\x1f]/

/** The key that a vkey names; undefined where it is none. */
export async function parseKey(vkey: string): Promise<Key | undefined> {
  // Base64 has plus signs too.
  const [, name = '', keyId = '', encoded = ''] = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey) ?? []
  const typed = fromBase64(encoded)
  if (!typed || typed.length !== TYPED_KEY_LENGTH || (typed[0] !== ED25519 && typed[0] !== COSIGNATURE))
    return undefined
  const id = hex((await sha256(concat(utf8(`${name}\n`), typed))).subarray(0, KEY_ID_LENGTH))
  if (id !== keyId) return undefined
  return { vkey, name, keyId, isWitness: typed[0] === COSIGNATURE, publicKey: typed.slice(1) }
}

/**
 * Reads a signed checkpoint of the ledger of this name and checks its signatures.
 *
 * @throws Unproven unless a key of the ledger among those given has signed it, and where one's signature does not hold
 */
export async function openCheckpoint(text: string, origin: string, vkeys: readonly string[]): Promise<SignedHead> {
  const end = text.lastIndexOf('\n\n')
  const note = text.slice(0, end + 1)
  const lines = text.slice(end + 2).split('\n')
  if (end < 0 || lines.pop() !== '' || lines.length > SIGNATURES_MAX || CONTROL.test(text) || !text.isWellFormed())
    throw new Unproven('the checkpoint is not written as one is')
  const tree = readTree(note, origin)
  const keys: Key[] = []
  for (const vkey of vkeys) {
    const key = await parseKey(vkey)
    if (!key) throw new Unproven(`${vkey} is no vkey`)
    keys.push(key)
  }
  const signers = new Map<string, Signer>()
  let isOfLedger = false
  for (const line of lines) {
    const [, name = '', encoded = ''] = /^— (\S+) (\S+)$/u.exec(line) ?? []
    const bytes = fromBase64(encoded)
    if (!bytes || bytes.length <= KEY_ID_LENGTH) throw new Unproven('a signature is not written as one is')
    const keyId = hex(bytes.subarray(0, KEY_ID_LENGTH))
    const key = keys.find((one) => one.name === name && one.keyId === keyId)
    // Signatures of others say nothing.
    if (!key) continue
    const at = await check(note, bytes.slice(KEY_ID_LENGTH), key)
    if (at === 'unsupported') return tree
    if (at === false) throw new Unproven(`the signature of ${name} ${keyId} does not hold`)
    signers.set(key.vkey, { name, keyId, ...(at === true ? {} : { at }) })
    isOfLedger ||= !key.isWitness && name === origin
  }
  if (!isOfLedger) throw new Unproven('none of the keys has signed it')
  return { ...tree, signers: [...signers.values()] }
}

function readTree(note: string, wanted: string): Tree & { origin: string } {
  const [origin = '', digits = '', encoded = '', ...rest] = note.split('\n')
  const root = fromBase64(encoded)
  const size = Number(digits)
  if (
    !/^(0|[1-9]\d*)$/.test(digits) ||
    !Number.isSafeInteger(size) ||
    rest.length !== 1 ||
    root?.length !== HASH_LENGTH
  )
    throw new Unproven('the checkpoint is not written as one is')
  if (origin !== wanted) throw new Unproven(`the checkpoint is of another ledger, ${origin}`)
  return { origin, size, root }
}

/** Whether a signature holds; of a witness when it was made, in seconds. */
async function check(
  note: string,
  signature: Bytes,
  { isWitness, publicKey }: Key,
): Promise<boolean | number | 'unsupported'> {
  let key: CryptoKey
  try {
    key = await crypto.subtle.importKey('raw', publicKey, 'Ed25519', false, ['verify'])
  } catch (error) {
    if (error instanceof DOMException && error.name === 'NotSupportedError') return 'unsupported'
    return false
  }
  if (!isWitness)
    return signature.length === SIGNATURE_LENGTH && (await crypto.subtle.verify('Ed25519', key, signature, utf8(note)))
  if (signature.length !== TIME_LENGTH + SIGNATURE_LENGTH) return false
  const at = new DataView(signature.buffer).getBigUint64(0)
  const signed = utf8(`cosignature/v1\ntime ${at}\n${note}`)
  const holds = await crypto.subtle.verify('Ed25519', key, signature.subarray(TIME_LENGTH), signed)
  return holds && at <= BigInt(Number.MAX_SAFE_INTEGER) && Number(at)
}
