/** Any path of the API, with the client's key: what the parts of the client are made of. */
export type Request = <T>(method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<T>

/** All that is listed, page by page: `read` is given the query that asks for a page. */
export async function* everyPage<Page extends { cursor?: string | undefined }, One>(
  read: (query: string) => Promise<Page>,
  listOf: (page: Page) => readonly One[],
): AsyncGenerator<One> {
  for (let query = ''; ; ) {
    const page = await read(query)
    yield* listOf(page)
    if (page.cursor === undefined) return
    query = `?cursor=${encodeURIComponent(page.cursor)}`
  }
}
