import { hash } from 'node:crypto'
import { isEnded, json, MusterError } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { problemsOf } from './problems.ts'

/** The route by which the outside ends a step that waits for it: whoever has the step's token may. */
export function callbackRoute(server: Server, { journal, reader, admission, redact, callbacks }: Context): void {
  server.post(
    '/v1/callbacks',
    {
      config: { access: 'token' },
      schema: {
        tags: ['callbacks'],
        security: [{ callback: [] }],
        summary: 'End a step that waits for the outside',
        description:
          'With the token that its tool was given in place of an API key. Accepted once it is durable; the same again does nothing more, and the first counts.',
        headers: z.object({ authorization: z.string().optional() }),
        body: z.union([
          z.strictObject({ output: json }),
          z.strictObject({ error: z.strictObject({ message: z.string().min(1).max(4096) }) }),
        ]),
        response: {
          202: z.object({ run: z.string(), step: z.string() }),
          ...problemsOf(400, 401, 404, 409, 410, 413, 422, 429, 503),
        },
      },
    },
    async (request, reply) => {
      const { body } = request
      const [, token] = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '') ?? []
      if (token === undefined) throw new MusterError('callback.invalid', 'The request has no token')
      if (!callbacks) throw new MusterError('callback.invalid', 'This server has no MUSTER_SECRET')
      const { run, tenant, step } = await callbacks.verify(token)
      const found = await reader.run(tenant, run)
      if (isEnded(found.status)) throw new MusterError('run.ended', `Run ${run} has ended`)
      const waiting = found.waiting.find((one) => one.step === step && one.for === 'callback')
      // One that comes before its step waits is checked by the worker.
      if ('output' in body && waiting) await admission.checkOutput(waiting.target, body.output)
      const given = 'output' in body ? body.output : body.error.message
      const { value, redacted } = redact(tenant, given)
      const told = {
        ...('output' in body ? { output: value } : { error: { code: 'tool.failed', message: String(value) } }),
        ...(redacted ? { redacted } : {}),
      }
      // No client can send a key with a line feed.
      const key = `\ncallback\n${step}\n${hash('sha256', JSON.stringify(told), 'hex')}`
      await journal.post(run, { type: 'callback', step, ...told }, key)
      return reply.code(202).send({ run, step })
    },
  )
}
