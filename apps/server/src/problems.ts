import { type ErrorCode, errorCatalog, type Issue, MusterError, type Problem } from '@muster/protocol'
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import { z } from 'zod'

/** Problem details (RFC 9457) as the API's error answer. */
export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    detail: z.string(),
    code: z.enum(Object.keys(errorCatalog) as [ErrorCode, ...ErrorCode[]]),
    hint: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Problem', description: 'Problem details (RFC 9457)' })

const byFastifyCode: Record<string, [ErrorCode, string]> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['request.too_large', 'The body is larger than 1 MB'],
  FST_ERR_CTP_INVALID_JSON_BODY: ['request.invalid_json', 'The body is not valid JSON'],
  FST_ERR_CTP_EMPTY_JSON_BODY: ['request.invalid_json', 'The body is empty'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['request.unsupported_media_type', 'The body is not application/json'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['request.invalid', 'Content-Length does not match the body'],
}

/** Every error leaves as a problem; what we did not foresee says nothing of its inside. */
export function sendProblems(server: FastifyInstance): void {
  server.setErrorHandler((error: FastifyError, request, reply) => {
    const known = knownError(error)
    if (known.status >= 500) request.log.error({ err: error }, known.message)
    if (known.retryAfterMs !== undefined) reply.header('retry-after', Math.ceil(known.retryAfterMs / 1000))
    return send(reply, known.toProblem())
  })
  server.setNotFoundHandler((request, reply) =>
    send(
      reply,
      new MusterError('request.not_found', `There is no ${request.method} ${request.url.split('?')[0]}`).toProblem(),
    ),
  )
}

function send(reply: FastifyReply, problem: Problem): FastifyReply {
  return reply.code(problem.status).header('content-type', 'application/problem+json').send(JSON.stringify(problem))
}

/** What a client is told of an error; of what we did not foresee, nothing of its inside. */
export function knownError(error: Error & { code?: string; statusCode?: number }): MusterError {
  if (error instanceof MusterError) return error
  if (hasZodFastifySchemaValidationErrors(error)) {
    const where = error.validationContext === 'body' ? '' : `${error.validationContext}`
    const issues: Issue[] = error.validation.map((issue) => ({
      path: where + issue.instancePath,
      message: issue.message ?? 'invalid',
    }))
    return new MusterError(
      'request.invalid',
      issues.map((issue) => `${issue.path || '/'} ${issue.message}`).join('; '),
      { issues },
    )
  }
  const [code, detail] = byFastifyCode[error.code ?? ''] ?? []
  if (code && detail) return new MusterError(code, detail)
  if (/Command timed out|Connection is closed|isn't writeable|ECONNREFUSED|ETIMEDOUT/.test(error.message)) {
    return new MusterError(
      'redis.unavailable',
      'Redis does not answer; send the request again with the same Idempotency-Key',
      { cause: error },
    )
  }
  if (error.statusCode !== undefined && error.statusCode < 500) return new MusterError('request.invalid', error.message)
  return new MusterError('internal', 'The request failed', { cause: error })
}

/** The answer of a route to requests that it does not expect. */
export function problemsOf(...statuses: number[]): Record<number, typeof problemAnswer> {
  return Object.fromEntries(statuses.map((status) => [status, problemAnswer]))
}

const problemAnswer = {
  description: 'Problem details (RFC 9457); `code` says what it is',
  content: { 'application/problem+json': { schema: problemSchema } },
}
