/** Pages that are asked for on end where few things match. */
const PAGES_MAX = 20
/** What a server gives with one page. */
const PAGE_MAX = 200

/** Asks for page after page until `limit` things are found; the cursor says where to go on. */
export async function askOn<T, C>(
  limit: number,
  cursor: C | undefined,
  ask: (page: { limit: number; cursor?: C }) => Promise<{ found: T[]; cursor?: C | undefined }>,
): Promise<{ found: T[]; cursor: C | undefined }> {
  const all: T[] = []
  let next = cursor
  for (let pages = 0; pages < PAGES_MAX && all.length < limit; pages++) {
    const page = await ask({
      limit: Math.min(PAGE_MAX, limit - all.length),
      ...(next === undefined ? {} : { cursor: next }),
    })
    all.push(...page.found)
    next = page.cursor
    if (next === undefined) break
  }
  return { found: all, cursor: next }
}
