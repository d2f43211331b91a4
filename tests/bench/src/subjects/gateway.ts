import { type ChildProcess, fork, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { openMemory } from '@muster/memory'
import { createModels } from '@muster/models'
import { allocateYoung } from '@muster/runtime'
import { createServer, newApiKey } from '@muster/server'
import { freePort } from '@muster/stack'
import fastify from 'fastify'
import { Pool } from 'undici'
import type { Load } from '../gateway-sides.ts'
import { Packages, until } from '../peers/packages.ts'
import type { Place, Subject, Work } from '../subject.ts'

const PORTKEY = '1.15.2'
const sides = fileURLToPath(new URL('../gateway-sides.ts', import.meta.url))

export interface GatewayOptions extends Place {
  /** Clients ask the model server itself, or through a gateway. */
  by: 'itself' | 'bare' | 'muster' | 'portkey'
  api: 'chat' | 'responses'
  connections: number
  stream: boolean
}

const paths = { chat: '/v1/chat/completions', responses: '/v1/responses' }

interface Way {
  origin: string
  headers: Record<string, string>
  close(): Promise<void>
}

/** Answers of a model that gives them at once, by so many connections in a closed loop. */
export async function gateway(options: GatewayOptions): Promise<Subject> {
  const { by, api, connections, stream } = options
  const upstream = fork(sides)
  const clients = fork(sides)
  const model = (await ask(upstream, { listen: true })) as string
  const way = await { itself, bare, muster, portkey }[by](model, options)
  const content = 'A question of about as many words as a short message to a colleague has, and no more than that.'
  const messages = [{ role: 'user', content }]
  const load: Omit<Load, 'ms'> = {
    ...{ origin: way.origin, path: paths[api], headers: way.headers, connections },
    body: JSON.stringify({ model: 'instant', stream, ...(api === 'chat' ? { messages } : { input: messages }) }),
  }
  return {
    run: async ({ ms }) => (await ask(clients, { load: { ...load, ms } })) as Work,
    async close() {
      await way.close()
      upstream.disconnect()
      clients.disconnect()
    },
  }
}

async function itself(origin: string): Promise<Way> {
  return { origin, headers: {}, async close() {} }
}

/** What the libraries below us take alone: each request is read as JSON, asked again as it is, and nothing is kept. */
async function bare(model: string): Promise<Way> {
  // As our engine has it.
  allocateYoung()
  const pool = new Pool(model)
  const server = fastify()
  server.post('/v1/*', async (request, reply) => {
    const body = JSON.stringify(request.body)
    const headers = { 'content-type': 'application/json' }
    const answer = await pool.request({ method: 'POST', path: request.url, headers, body })
    reply.type(String(answer.headers['content-type']))
    return body.includes('"stream":true') ? answer.body : JSON.stringify(await answer.body.json())
  })
  const origin = await server.listen({ host: '127.0.0.1', port: 0 })
  return {
    ...{ origin, headers: {} },
    async close() {
      await server.close()
      await pool.close()
    },
  }
}

/** A server in this process, whose CPU time is the subject's. */
async function muster(model: string, { redisUrl, dynamo: endpoint, api }: GatewayOptions): Promise<Way> {
  const memory = await openMemory({ table: 'bench', endpoint })
  const { key, stored } = newApiKey({ id: 'bench', tenant: 'bench', user: 'bench', roles: [] })
  const target = { model: 'instant', baseUrl: `${model}/v1`, apiKey: 'none', api, free: true }
  const text = '@id("all") permit (principal, action, resource);'
  const server = await createServer({
    ...{ redisUrl, namespace: 'bench-gateway', memory, keys: [stored] },
    budgets: { 'user:*': { day: { usd: 1e6 } } },
    gateway: {
      models: createModels({ routes: { default: target, instant: target } }),
      policies: () => [{ file: 'bench.cedar', text }],
      lockMs: 10_000,
    },
  })
  const origin = await server.listen('127.0.0.1', 0)
  return {
    ...{ origin, headers: { authorization: `Bearer ${key}` } },
    async close() {
      await server.close()
      memory.close()
    },
  }
}

/** Portkey's gateway: neither journal nor policies. */
async function portkey(model: string): Promise<Way> {
  const packages = await Packages.install('portkey', { '@portkey-ai/gateway': PORTKEY })
  const port = await freePort()
  const file = packages.file('@portkey-ai/gateway', 'build', 'start-server.js')
  const child = spawn(process.execPath, [file, '--headless', `--port=${port}`], { stdio: 'ignore' })
  const origin = `http://127.0.0.1:${port}`
  await until('Portkey answers', async () => (await fetch(origin)).ok)
  const headers = {
    ...{ authorization: 'Bearer none', 'x-portkey-provider': 'openai' },
    'x-portkey-custom-host': `${model}/v1`,
  }
  return {
    ...{ origin, headers },
    async close() {
      child.kill()
    },
  }
}

function ask(child: ChildProcess, question: object): Promise<unknown> {
  return new Promise((resolve, reject) => {
    child.once('message', (reply: { answer?: unknown; error?: string }) =>
      reply.error === undefined ? resolve(reply.answer) : reject(new Error(reply.error)),
    )
    child.send(question)
  })
}
