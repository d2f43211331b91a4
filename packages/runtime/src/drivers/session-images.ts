import type { Memory } from '@muster/memory'
import type { ModelMessage, Part } from '@muster/models'
import type { Json } from '@muster/protocol'
import { noted } from './content-parts.ts'

/**
 * Images that people have shown in a conversation that lasts across runs. A turn of a session is small: it has that there was
 * an image, and where the data is. That lies with the content of the run that was shown it, and goes with it.
 */

/** Characters of base64 that a run leaves to those after it, and that one is shown of those before it: the newest. */
const IMAGES_MAX = 2 * 1024 * 1024

/** Where the data of an image is. */
interface Kept {
  run: string
  name: string
  mediaType: string
}

/** Messages as a session has them, and the data of their images by the names that they have there. */
export function noteImages(
  messages: readonly ModelMessage[],
  run: string,
): { messages: Json[]; images: ReadonlyMap<string, string> } {
  const images = new Map<string, string>()
  let room = IMAGES_MAX
  const keep = ({ mediaType, data }: { mediaType: string; data: string }): { image?: Kept } => {
    if (data.length > room) return {}
    room -= data.length
    const name = `image.${images.size}`
    images.set(name, data)
    return { image: { run, name, mediaType } }
  }
  const newestFirst = messages.toReversed().map((message) => noted(message, keep))
  return { messages: newestFirst.toReversed() as unknown as Json[], images } // plain JSON by construction
}

/** Messages of a session with their images again, as far as these are there and a model sees them. */
export async function withImages(
  messages: readonly Json[],
  { memory, tenant, isSeen }: { memory: Pick<Memory, 'blobs'>; tenant: string; isSeen: () => boolean },
): Promise<Json[]> {
  let room = IMAGES_MAX
  const shown = async (part: Json): Promise<Json> => {
    const kept = keptIn(part)
    if (!kept) return part
    const { run, name, mediaType } = kept
    const data = room > 0 && isSeen() ? await memory.blobs.get({ tenant, run }, name) : undefined
    if (data === undefined || data.length > room) return { type: 'text', text: '[an image]' } satisfies Part
    room -= data.length
    return { type: 'image', mediaType, data } satisfies Part
  }
  const newestFirst: Json[] = []
  for (const message of messages.toReversed()) {
    if (!isSpoken(message)) newestFirst.push(message)
    else {
      const content: Json[] = []
      for (const part of message.content) content.push(await shown(part))
      newestFirst.push({ ...message, content })
    }
  }
  return newestFirst.toReversed()
}

function isSpoken(message: Json): message is { role: 'user'; content: Json[] } {
  return message !== null && typeof message === 'object' && !Array.isArray(message) && Array.isArray(message.content)
}

function keptIn(part: Json): Kept | undefined {
  if (part === null || typeof part !== 'object' || Array.isArray(part)) return undefined
  return part.image === undefined ? undefined : (part.image as unknown as Kept) // written by `noteImages`
}
