import { z } from 'zod'
import type { Json, JsonSchema } from './definition.ts'

/** What a message to a model holds besides text: images and files, with their data or by an address. */

/** How data begins, its first bytes in hexadecimal, by its type. Text has no such mark. */
const OLE = /^d0cf11e0/
const ZIP = /^504b0304/
const MARKS: Record<string, RegExp> = {
  'image/png': /^89504e470d0a1a0a/,
  'image/jpeg': /^ffd8ff/,
  'image/gif': /^47494638(?:37|39)61/,
  'image/webp': /^52494646.{8}57454250/,
  'application/pdf': /^255044462d/,
  'application/msword': OLE,
  'application/vnd.openxmlformats-officedocument.wordprocessingml.document': ZIP,
  'application/vnd.ms-excel': OLE,
  'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet': ZIP,
}
const IMAGES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'] as const
const FILES = [
  ...['application/pdf', 'text/plain', 'text/markdown', 'text/csv', 'text/html', 'application/msword'],
  ...['application/vnd.openxmlformats-officedocument.wordprocessingml.document', 'application/vnd.ms-excel'],
  'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
] as const
/** By the end of a file's name, where how it begins does not tell them apart. */
const ENDINGS: Record<string, (typeof FILES)[number]> = {
  txt: 'text/plain',
  md: 'text/markdown',
  csv: 'text/csv',
  html: 'text/html',
  htm: 'text/html',
  doc: 'application/msword',
  docx: 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
  xls: 'application/vnd.ms-excel',
  xlsx: 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
}
/** Base64 characters that tell how data begins. */
const MARK_LENGTH = 24

/** Characters of JSON that an input, an output or a message may have, with what is in its images and files. */
export const VALUE_MAX = 4 * 1024 * 1024
/** Parts of one message. */
export const PARTS_MAX = 100

/** Where a schema says so, a text is the data of an image or a file. */
const ENCODING = { contentEncoding: 'base64' }
const data = z.string().min(4).max(VALUE_MAX).meta(ENCODING)

/** Why data is not what its type says; undefined where it is. */
export function dataProblem(mediaType: string, text: string): string | undefined {
  if (!isBase64(text)) return 'must be base64'
  if (mediaType.startsWith('text/')) return textOfData(text) === undefined ? 'is no text in UTF-8' : undefined
  const begins = bytesOf(text.slice(0, MARK_LENGTH)).reduce((hex, byte) => hex + byte.toString(16).padStart(2, '0'), '')
  return MARKS[mediaType]?.test(begins) ? undefined : `does not begin as ${mediaType} does`
}

/**
 * A file with this name and data (base64) as an image or a file: by how it begins, by the end of its name where several begin
 * so, and any other text as plain text. Undefined where it is none that a model is given.
 */
export function mediaOf(name: string, data: string): MediaPart | undefined {
  const ending = ENDINGS[name.slice(name.lastIndexOf('.') + 1).toLowerCase()]
  const image = IMAGES.find((type) => dataProblem(type, data) === undefined)
  if (image) return { type: 'image', mediaType: image, data }
  const types = ['application/pdf' as const, ...(ending ? [ending] : []), 'text/plain' as const]
  const mediaType = types.find((type) => dataProblem(type, data) === undefined)
  if (!mediaType || (mediaType.startsWith('text/') && textOfData(data)?.includes('\0'))) return undefined
  return { type: 'file', name, mediaType, data }
}

/** Whether it is base64 of some bytes, as vendors take it. */
export function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text)
}

/** The text that a file of text holds; undefined where it is none. */
export function textOfData(text: string): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytesOf(text)))
  } catch {
    return undefined
  }
}

function bytesOf(data: string): number[] {
  return Array.from(atob(data), (character) => character.charCodeAt(0))
}

function checkData({ mediaType, data }: { mediaType: string; data: string }, context: z.RefinementCtx): void {
  const message = dataProblem(mediaType, data)
  if (message !== undefined) context.addIssue({ code: 'custom', path: ['data'], message })
}

export const textPart = z.strictObject({ type: z.literal('text'), text: z.string() })
export const imagePart = z.union([
  z.strictObject({ type: z.literal('image'), mediaType: z.enum(IMAGES), data }).superRefine(checkData),
  z.strictObject({
    type: z.literal('image'),
    /** Fetched by the vendor, where that fetches. */
    url: z
      .string()
      .max(2048)
      .regex(/^https:\/\/./, 'must begin with https://'),
  }),
])
export const filePart = z
  .strictObject({ type: z.literal('file'), name: z.string().min(1).max(200), mediaType: z.enum(FILES), data })
  .superRefine(checkData)
export const part = z.union([textPart, imagePart, filePart])
export const parts = z.array(part).min(1).max(PARTS_MAX)
/** What a person says: a text, or several texts, images and files in their order. */
export const prompt = z.union([z.string(), parts])
export type Part = z.infer<typeof part>
export type Prompt = z.infer<typeof prompt>

/** An image or a file by its shape alone. */
export type MediaPart = Exclude<Part, { type: 'text' }>
export function isMedia(value: Json): value is MediaPart {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return false
  const { type, mediaType, data, url, name } = value
  if (type === 'image' && typeof url === 'string') return true
  if (typeof mediaType !== 'string' || typeof data !== 'string') return false
  return type === 'image' || (type === 'file' && typeof name === 'string')
}

/** Schemas do not change: each is looked through once, not for each value of it. */
const looked = new WeakMap<JsonSchema, boolean>()

/** Whether values of a schema may hold images or files. */
export function takesMedia(schema: JsonSchema): boolean {
  const known = looked.get(schema) ?? holdsMedia(schema)
  looked.set(schema, known)
  return known
}

function holdsMedia(schema: unknown): boolean {
  if (schema === null || typeof schema !== 'object') return false
  if (Array.isArray(schema)) return schema.some(holdsMedia)
  const { type, data } =
    (schema as { properties?: Record<string, { const?: unknown; contentEncoding?: unknown }> }).properties ?? {}
  const isPart =
    (type?.const === 'image' || type?.const === 'file') && data?.contentEncoding === ENCODING.contentEncoding
  return isPart || Object.values(schema).some(holdsMedia)
}

/** A value with what `change` makes of each image and file in it. */
export function mapMedia(value: Json, change: (part: MediaPart, path: string) => Json, path = ''): Json {
  if (value === null || typeof value !== 'object') return value
  if (Array.isArray(value)) return value.map((item, i) => mapMedia(item, change, `${path}/${i}`))
  if (isMedia(value)) return change(value, path)
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      mapMedia(field, change, `${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`),
    ]),
  )
}
