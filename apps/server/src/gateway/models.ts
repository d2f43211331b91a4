import type { ModelFacts } from '@muster/models'
import { z } from 'zod'
import type { Context, Server } from '../context.ts'
import { refusalsOf } from './refusal.ts'
import type { Requests } from './requests.ts'

const listed = z.object({
  id: z.string(),
  object: z.literal('model'),
  created: z.number(),
  owned_by: z.string(),
  /** As Anthropic names them. */
  type: z.literal('model'),
  display_name: z.string(),
  created_at: z.string(),
  /** As far as it is known of all targets of the route. */
  context_window: z.number().optional(),
  max_output_tokens: z.number().optional(),
  input_modalities: z.array(z.string()).optional(),
  tool_calling: z.boolean().optional(),
  reasoning_efforts: z.array(z.string()).optional(),
})
type Listed = z.infer<typeof listed>

const shared = { tags: ['gateway'], security: [{ key: [] }] }

/** Routes of the models that there are. */
export function modelRoutes(server: Server, { keyOf }: Context, need: () => Requests): void {
  server.get(
    '/v1/models',
    {
      config: { dialect: 'chat', access: 'open' },
      schema: {
        ...shared,
        summary: 'The models that the key may use',
        response: {
          200: z.object({ object: z.literal('list'), data: z.array(listed), has_more: z.boolean() }),
          ...refusalsOf('chat'),
        },
      },
    },
    async (request) => ({
      object: 'list' as const,
      data: need().routesOf(keyOf(request)).map(shown),
      has_more: false,
    }),
  )
  server.get(
    '/v1/models/:id',
    {
      config: { dialect: 'chat', access: 'open' },
      schema: {
        ...shared,
        summary: 'One of them',
        params: z.object({ id: z.string().max(200) }),
        response: { 200: listed, ...refusalsOf('chat') },
      },
    },
    async (request) => {
      const { id } = request.params
      const found = need()
        .routesOf(keyOf(request))
        .find(([route]) => route === id)
      if (!found) throw need().unknown(keyOf(request), id)
      return shown(found)
    },
  )
}

/** When a route was made nobody knows. */
const SINCE = 1_700_000_000

function shown([id, facts]: [route: string, facts: ModelFacts]): Listed {
  const { contextWindow, maxOutputTokens, inputs, tools, efforts } = facts
  return {
    ...{ id, object: 'model', created: SINCE, owned_by: 'muster' },
    ...{ type: 'model', display_name: id, created_at: new Date(SINCE * 1000).toISOString() },
    ...(contextWindow === undefined ? {} : { context_window: contextWindow }),
    ...(maxOutputTokens === undefined ? {} : { max_output_tokens: maxOutputTokens }),
    ...(inputs ? { input_modalities: [...inputs] } : {}),
    ...(tools === undefined ? {} : { tool_calling: tools }),
    ...(efforts ? { reasoning_efforts: [...efforts] } : {}),
  }
}
