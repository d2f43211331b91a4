import { createCipheriv, createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'

const IV_BYTES = 12
const TAG_BYTES = 16
/** Characters of base64url of the shortest token: that of one byte. */
const TOKEN_MIN = 39
/** Longer ones are not made: the value is masked. */
export const TOKEN_VALUE_MAX = 20_000

/** What stands between the brackets of a token after its kind. */
export const TOKEN_BODY = `[A-Za-z0-9_-]{${TOKEN_MIN},${Math.ceil(((TOKEN_VALUE_MAX * 4 + 28) * 4) / 3)}}`

interface Keys {
  mac: Buffer
  cipher: Buffer
}

/**
 * Makes tokens of values and values of tokens, for one tenant.
 *
 * The same value gives the same token, so that equal things stay equal: a random nonce is out. So it is done as SIV does
 * (RFC 5297, and RFC 8452 for GCM): the nonce is a keyed hash of the value, under a key of its own. Two values share one
 * only if HMAC-SHA-256, cut to the 96 bits that GCM takes, collides: not to be expected below 2^48 values of a tenant and
 * kind. What a token shows is how long its value is, and that two are the same.
 */
export class Tokens {
  readonly #secret: string
  readonly #tenant: string
  readonly #keys = new Map<string, Keys>()

  constructor(secret: string, tenant: string) {
    this.#secret = secret
    this.#tenant = tenant
  }

  seal(kind: string, value: string): string {
    const { mac, cipher } = this.#keysOf(kind)
    const iv = createHmac('sha256', mac).update(value).digest().subarray(0, IV_BYTES)
    const sealed = createCipheriv('aes-256-gcm', cipher, iv)
    const text = Buffer.concat([sealed.update(value, 'utf8'), sealed.final()])
    return `[${kind}:${Buffer.concat([iv, sealed.getAuthTag(), text]).toString('base64url')}]`
  }

  /** The value, or undefined where this tenant's key has made no such token. */
  open(kind: string, body: string): string | undefined {
    const bytes = Buffer.from(body, 'base64url')
    // One token has one form.
    if (bytes.length <= IV_BYTES + TAG_BYTES || bytes.toString('base64url') !== body) return undefined
    const { mac, cipher } = this.#keysOf(kind)
    const iv = bytes.subarray(0, IV_BYTES)
    const sealed = createDecipheriv('aes-256-gcm', cipher, iv)
    sealed.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES))
    try {
      const text = Buffer.concat([sealed.update(bytes.subarray(IV_BYTES + TAG_BYTES)), sealed.final()])
      const again = createHmac('sha256', mac).update(text).digest().subarray(0, IV_BYTES)
      return timingSafeEqual(again, iv) ? text.toString('utf8') : undefined
    } catch {
      return undefined
    }
  }

  #keysOf(kind: string): Keys {
    let keys = this.#keys.get(kind)
    if (!keys) {
      const info = JSON.stringify(['muster redaction 1', this.#tenant, kind])
      const bytes = Buffer.from(hkdfSync('sha256', this.#secret, '', info, 64))
      keys = { mac: bytes.subarray(0, 32), cipher: bytes.subarray(32) }
      this.#keys.set(kind, keys)
    }
    return keys
  }
}
