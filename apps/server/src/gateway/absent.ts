import type { Dialect } from '@muster/models'
import { MusterError } from '@muster/protocol'
import type { HTTPMethods } from 'fastify'
import type { Server } from '../context.ts'
import type { Requests } from './requests.ts'

/** What vendors have below `/v1`, which is not here, or of which not all is here, and what there is in its place. */
const ABSENT: { dialect: Dialect; names: string[]; instead?: string }[] = [
  { dialect: 'chat', names: ['chat', 'completions', 'edits'], instead: 'POST /v1/chat/completions' },
  { dialect: 'embeddings', names: ['embeddings'], instead: 'POST /v1/embeddings' },
  {
    dialect: 'responses',
    names: ['responses', 'assistants', 'threads', 'conversations', 'realtime'],
    instead:
      'POST /v1/responses with GET /v1/responses/{id}, GET /v1/responses/{id}/input_items, POST /v1/responses/{id}/cancel and POST /v1/responses/input_tokens',
  },
  {
    dialect: 'responses',
    names: ['responses/compact'],
    instead:
      'POST /v1/responses, by which a model can be asked for a summary; agents compact by themselves (`context`)',
  },
  {
    dialect: 'messages',
    names: ['messages', 'complete', 'organizations', 'skills'],
    instead: 'POST /v1/messages and POST /v1/messages/count_tokens',
  },
  { dialect: 'chat', names: ['models'], instead: 'GET /v1/models and GET /v1/models/{id}' },
  { dialect: 'chat', names: ['audio', 'images', 'videos', 'moderations', 'fine_tuning', 'evals', 'graders'] },
  { dialect: 'chat', names: ['files', 'uploads', 'batches', 'vector_stores', 'containers', 'chatkit'] },
]
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] satisfies HTTPMethods[]

/** Answers in the vendors' own shape what they have and the gateway has not. To be called when all that it has is there. */
export function absentRoutes(server: Server, need: () => Requests): void {
  for (const { dialect, names, instead } of ABSENT)
    for (const url of names.flatMap((name) => [`/v1/${name}`, `/v1/${name}/*`]))
      server.route({
        method: METHODS.filter((method) => !server.hasRoute({ method, url })),
        url,
        config: { dialect, access: 'open' },
        schema: { hide: true },
        // Before a body is read, of whatever kind it is.
        onRequest: async ({ method, url }) => {
          need()
          const place = instead === undefined ? '' : `; in its place there is ${instead}`
          throw new MusterError(
            'request.not_found',
            `There is no ${method} ${url.split('?')[0]} at this gateway${place}`,
          )
        },
        handler: async () => {},
      })
}
