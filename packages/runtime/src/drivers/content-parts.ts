import type { ModelMessage, Part as ModelPart } from '@muster/models'
import { isMedia, type Json, type MediaPart, mapMedia, type Part, type Prompt } from '@muster/protocol'

/** What a model is shown of values that hold images and files: the value as text, and those after it. */

/** Each image or file as its place among those that come with the text. */
export function withoutMedia(value: Json, media: MediaPart[]): Json {
  return mapMedia(value, (part) => {
    media.push(part)
    return { type: part.type, part: media.length, ...('name' in part ? { name: part.name } : {}) }
  })
}

export function besideText(text: string, media: readonly MediaPart[]): Prompt {
  return media.length === 0 ? text : [{ type: 'text', text }, ...media]
}

/** An input as a person's message: as it is where it is one already. */
export function contentOf(value: Json): Prompt {
  if (Array.isArray(value) && value.length > 0 && value.every((item) => isPart(item))) return value
  const media: MediaPart[] = []
  return besideText(plainContent(withoutMedia(value, media)), media)
}

export function plainContent(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function isPart(value: Json): value is Part {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return false
  return isMedia(value) || (value.type === 'text' && typeof value.text === 'string')
}

type ToolMessage = Extract<ModelMessage, { role: 'tool' }>

/** A tool's result with its text as `change` gives it. */
export function withText(message: ToolMessage, change: (text: string) => string): ToolMessage {
  const { content } = message
  if (typeof content === 'string') return { ...message, content: change(content) }
  // The text comes first: see `besideText`.
  const [first, ...media] = content
  return first?.type === 'text' ? { ...message, content: [{ ...first, text: change(first.text) }, ...media] } : message
}

type Image = Extract<ModelPart, { type: 'image'; data: string }>

/** A message as a session has it: of data, that there was some, and of what a person has shown what `keep` says. */
export function noted(message: ModelMessage, keep: (image: Image) => object): ModelMessage {
  if ((message.role !== 'user' && message.role !== 'tool') || typeof message.content === 'string') return message
  const content = message.content.map((part): ModelPart => {
    // Nothing that somebody has put beside a text says where an image is.
    if (part.type === 'text') return { type: 'text', text: part.text }
    if (!('data' in part)) return part
    if (part.type === 'file') return { type: 'text', text: `[the file ${part.name}]` }
    return { type: 'text', text: '[an image]', ...(message.role === 'user' ? keep(part) : {}) }
  })
  return { ...message, content }
}
