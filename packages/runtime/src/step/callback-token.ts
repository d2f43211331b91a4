import { hash } from 'node:crypto'
import { MusterError } from '@muster/protocol'
import { JOSEError, JWTExpired } from 'jose/errors'
import { SignJWT } from 'jose/jwt/sign'
import { jwtVerify } from 'jose/jwt/verify'

/** The step that a token ends. */
export interface CalledStep {
  run: string
  tenant: string
  step: string
}

const AUDIENCE = 'muster:callback'

/** Signs and checks the tokens by which the outside ends steps: JSON Web Tokens (RFC 7519) with HMAC-SHA-256. */
export class CallbackTokens {
  /** Where callbacks are sent to; undefined where nobody said. */
  readonly url: string | undefined
  readonly #key: Uint8Array

  /** `publicUrl`: where the outside reaches the server. */
  constructor(secret: string, publicUrl?: string) {
    // One secret may serve several ends: each has a key of its own.
    this.#key = Buffer.from(hash('sha256', `${AUDIENCE}\n${secret}`, 'hex'), 'hex')
    this.url = publicUrl === undefined ? undefined : new URL('/v1/callbacks', publicUrl).href
  }

  /** A token for a step; not valid after `until`, ms since the epoch. */
  sign({ run, tenant, step }: CalledStep, until?: number): Promise<string> {
    const token = new SignJWT({ tenant, step }).setProtectedHeader({ alg: 'HS256' }).setSubject(run)
    if (until !== undefined) token.setExpirationTime(Math.ceil(until / 1000))
    return token.setAudience(AUDIENCE).sign(this.#key)
  }

  /** @throws MusterError `callback.invalid` or `callback.expired` */
  async verify(token: string): Promise<CalledStep> {
    try {
      const { payload } = await jwtVerify(token, this.#key, { audience: AUDIENCE, algorithms: ['HS256'] })
      const { sub: run, tenant, step } = payload
      if (typeof run === 'string' && typeof tenant === 'string' && typeof step === 'string')
        return { run, tenant, step }
    } catch (error) {
      if (error instanceof JWTExpired)
        throw new MusterError('callback.expired', 'The time in which the step could be called back is over')
      if (!(error instanceof JOSEError)) throw error
    }
    throw new MusterError('callback.invalid', 'The token was not signed here')
  }
}
