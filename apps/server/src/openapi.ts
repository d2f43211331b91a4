import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { json } from '@muster/protocol'
import type { FastifySchema, RouteOptions } from 'fastify'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { accessText } from './access.ts'
import { problemsOf } from './problems.ts'

// It is made of itself: without a name of its own, nothing would stand where the document refers to it.
z.globalRegistry.add(json, { id: 'Json', description: 'Any JSON value' })

/** How the API describes itself. */
export const openApi: FastifyDynamicSwaggerOptions = {
  openapi: {
    openapi: '3.1.0',
    info: {
      title: 'Muster',
      version: '0.1.0',
      description: 'A runtime for managed agents: durable, governed, provable.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    components: {
      securitySchemes: {
        key: { type: 'http', scheme: 'bearer', description: 'API key' },
        callback: { type: 'http', scheme: 'bearer', description: 'token that a tool was given' },
      },
    },
  },
  transform(document) {
    const { schema, url } = jsonSchemaTransform({ ...document, schema: withAccess(document.schema, document.route) })
    const method = String(document.route.method).toLowerCase()
    return { schema: named({ operationId: operationId(method, url), ...schema }), url: url.replace('*', ':path') }
  },
  transformObject: jsonSchemaTransformObject,
}

/** Who may use it is said of each route in the same words, with what any other is answered. */
function withAccess(schema: FastifySchema, { config: { access } = {} }: RouteOptions): FastifySchema {
  const text = access && accessText(access)
  if (text === undefined) return schema
  const { description, response } = schema
  const isRefused = access === 'any-role' || typeof access === 'object'
  return {
    ...schema,
    description: description === undefined ? text : `${description} ${text}`,
    ...(isRefused && typeof response === 'object' ? { response: { ...problemsOf(403), ...response } } : {}),
  }
}

/** The rest of a path is `*` to the router; in a document it has a name. */
function named(schema: FastifySchema): FastifySchema {
  const { params } = schema
  if (params === undefined || !JSON.stringify(params).includes('"*"')) return schema
  return { ...schema, params: JSON.parse(JSON.stringify(params).replaceAll('"*"', '"path"')) }
}

/** `POST /v1/runs/:id/cancel` is `postRunsByIdCancel`: what generators of clients name their functions. */
function operationId(method: string, url: string): string {
  const words = url.replace(/^\/v1/, '').match(/[:*]?[a-z]+|\*/gi) ?? []
  return (
    method +
    words.map((word) => (/^[:*]/.test(word) ? `By${capital(word.slice(1) || 'path')}` : capital(word))).join('')
  )
}

const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1)
