import { type Issue, isBase64, MusterError } from '@muster/protocol'
import type { ModelMessage, Part } from './message.ts'

/** What a vendor takes beside text. */
export interface Media {
  /** Images that it is to fetch itself. */
  urls: boolean
  /** Types of files. */
  files: readonly string[]
  /** Files that it takes in one request; any number unless given. */
  filesMax?: number
  /** In results of tools, too. */
  results: boolean
}

const IMAGES: readonly string[] = ['image/png', 'image/jpeg', 'image/gif', 'image/webp']
export const PDF = 'application/pdf'
/** Of all images and files of a request, characters of base64: 20 MB. */
const DATA_MAX = Math.ceil((20 * 1024 * 1024) / 3) * 4

/** Why a vendor cannot be given a part; undefined where it can. */
export function whyNot(part: Part, media: Media, isResult: boolean): string | undefined {
  if (part.type === 'text') return undefined
  if (isResult && !media.results) return 'only text can be the result of a tool at this target'
  if ('url' in part) {
    if (!media.urls) return 'an image must come with its data at this target'
    return /^https?:\/\/./.test(part.url) ? undefined : 'must be an address that begins with https://'
  }
  const types = part.type === 'image' ? IMAGES : media.files
  if (!types.includes(part.mediaType)) {
    const given = part.mediaType.slice(0, 100)
    return `${part.type === 'image' ? 'an image' : 'a file'} of type ${given} cannot be said to this target`
  }
  return isBase64(part.data) ? undefined : 'the data must be base64'
}

/** Pages of a file are shown to a model that sees images. */
function notTaken({ type }: Part, inputs: readonly string[] | undefined): string | undefined {
  if (type === 'text' || !inputs || inputs.includes(type) || (type === 'file' && inputs.includes('image')))
    return undefined
  return `the model takes no ${type}s, as far as is known of it`
}

/**
 * `inputs`: what the model is known to take.
 *
 * @throws MusterError `model.unsupported` for what a vendor or the model cannot be given, naming each part
 */
export function checkParts(
  model: string,
  messages: readonly ModelMessage[],
  media: Media,
  inputs?: readonly string[],
): void {
  const issues: Issue[] = []
  const { filesMax = Number.POSITIVE_INFINITY } = media
  let size = 0
  let files = 0
  for (const [at, { role, content }] of messages.entries()) {
    if (!Array.isArray(content)) continue
    for (const [i, part] of content.entries()) {
      if ('data' in part) size += part.data.length
      if (part.type === 'file') files++
      const message = whyNot(part, media, role === 'tool') ?? notTaken(part, inputs)
      if (message !== undefined) issues.push({ path: `/messages/${at}/content/${i}`, message })
    }
  }
  if (size > DATA_MAX) issues.push({ path: '/messages', message: 'images and files may have 20 MB in all' })
  if (files > filesMax)
    issues.push({ path: '/messages', message: `${files} files, of which this target takes ${filesMax} in a request` })
  if (issues.length === 0) return
  const places = issues.map(({ path, message }) => `${path} ${message}`)
  throw new MusterError('model.unsupported', `${model}: ${places.slice(0, 10).join('; ')}`, { issues })
}

/** As one text, where it holds nothing else. */
export function joined(parts: readonly Part[], between = ''): string | Part[] {
  return parts.every((part) => part.type === 'text') ? parts.map(({ text }) => text).join(between) : [...parts]
}

export function partsOf(content: string | readonly Part[]): readonly Part[] {
  if (typeof content !== 'string') return content
  return content === '' ? [] : [{ type: 'text', text: content }]
}

/** Without texts that say nothing: some vendors refuse those, and white space as well. */
export function worded(parts: readonly Part[]): readonly Part[] {
  return parts.filter((part) => part.type !== 'text' || isWorded(part.text))
}

export function isWorded(text: string | null): text is string {
  return text !== null && text.trim() !== ''
}

export function dataUrl({ mediaType, data }: { mediaType: string; data: string }): string {
  return `data:${mediaType};base64,${data}`
}

/** Undefined where it is none, or not of base64. */
export function readDataUrl(url: string): { mediaType: string; data: string } | undefined {
  const comma = url.indexOf(',')
  const [, mediaType] = /^data:([\w.+-]+\/[\w.+-]+);base64$/.exec(url.slice(0, Math.max(comma, 0))) ?? []
  return mediaType === undefined ? undefined : { mediaType, data: url.slice(comma + 1) }
}
