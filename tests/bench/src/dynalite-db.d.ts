/** dynalite has no types of its own; this is what we use of its store. */
declare module 'dynalite/db/index.js' {
  type Value = Record<string, { S: string } | { N: string }>
  type Done<T> = (error: unknown, result: T) => void
  interface Table {
    TableName: string
  }

  export function create(options: { path: string }): {
    getTable(name: string, done: Done<Table>): void
    getItemDb(name: string): {
      batch(puts: { type: 'put'; key: string; value: Value }[], done: Done<void>): void
    }
    db: { close(): Promise<void> }
  }
  export function createKey(item: Value, table: Table): string
}
