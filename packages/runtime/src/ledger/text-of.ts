/** No checkpoint is longer, whoever has signed it. */
const TEXT_MAX = 64 * 1024

/** What another sends, as text, as long as a checkpoint may be. */
export async function textOf(body: AsyncIterable<Uint8Array>, from: string): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of body) {
    length += part.length
    if (length > TEXT_MAX) throw new Error(`the answer of ${from} is too long`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}
