/** The HTTP API. */
export { type ApiKey, newApiKey, readKeys } from './keys.ts'
export { createServer, type ServerOptions } from './server.ts'
