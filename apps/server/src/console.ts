import { hash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { stripTypeScriptTypes } from 'node:module'
import { extname } from 'node:path'
import { consoleFiles } from '@muster/console'
import type { Server } from './context.ts'

interface Served {
  body: string
  etag: string
  policy: string
}

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.ts': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
}

/**
 * Serves the web console at `/`: the files of `@muster/console`, each under an address of its own and read again
 * when it has changed. What is TypeScript goes out with its types blanked, so that there is no build.
 */
export function registerConsole(server: Server): void {
  for (const [name, path] of consoleFiles()) {
    const type = types[extname(name)] ?? 'application/octet-stream'
    const read = cached(path)
    server.get(name === 'index.html' ? '/' : `/console/${name}`, { schema: { hide: true } }, async (request, reply) => {
      const { body, etag, policy } = await read()
      reply.headers({
        etag,
        'cache-control': 'no-cache',
        'content-security-policy': policy,
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
      })
      if (request.headers['if-none-match'] === etag) return reply.code(304).send()
      return reply.type(type).send(body)
    })
  }
}

function cached(path: string): () => Promise<Served> {
  let known: { changedMs: number; served: Served } | undefined
  return async () => {
    const { mtimeMs: changedMs } = await stat(path)
    if (known?.changedMs !== changedMs) known = { changedMs, served: prepare(path, await readFile(path, 'utf8')) }
    return known.served
  }
}

function prepare(path: string, text: string): Served {
  const body = path.endsWith('.ts') ? stripTypes(text) : text
  return { body, etag: `"${hash('sha256', body, 'base64url').slice(0, 22)}"`, policy: contentSecurityPolicy(body) }
}

/** Only what we serve runs. An import map must be inline, so it is named by its hash; no string becomes markup. */
function contentSecurityPolicy(body: string): string {
  const [, map] = /<script type="importmap">([^<]*)<\/script>/.exec(body) ?? []
  const mapHash = map === undefined ? '' : ` 'sha256-${hash('sha256', map, 'base64')}'`
  return [
    "default-src 'self'",
    `script-src 'self'${mapHash}`,
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ')
}

/** Node warns that the function may still change, which is our concern and not that of who reads the server's log. */
function stripTypes(text: string): string {
  const { emitWarning } = process
  process.emitWarning = () => {}
  try {
    return stripTypeScriptTypes(text)
  } finally {
    process.emitWarning = emitWarning
  }
}
