/** dynalite has no types of its own; this is what we use of it. */
declare module 'dynalite' {
  import type { Server } from 'node:http'

  interface DynaliteOptions {
    /** Folder of the LevelDB store; in memory without it. */
    path?: string
    createTableMs?: number
    deleteTableMs?: number
    updateTableMs?: number
  }

  /** A server that speaks DynamoDB's protocol. Its close() closes the store as well. */
  export default function dynalite(options?: DynaliteOptions): Server
}
