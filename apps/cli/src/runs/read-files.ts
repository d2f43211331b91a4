import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import {
  type Json,
  type JsonSchema,
  type MediaPart,
  MusterError,
  mediaOf,
  PARTS_MAX,
  type Part,
  type Prompt,
  VALUE_MAX,
} from '@muster/protocol'
import { Ajv2020 } from 'ajv/dist/2020.js'

/** Bytes of files that one input or message takes: as base64 they are a third more. */
const BYTES_MAX = (VALUE_MAX / 4) * 3

/** A file that is given with `--file <path>[#<name>]`. */
interface Given {
  part: MediaPart
  path: string
  name: string | undefined
}

/** Text, and files after it, as one message. */
export function saidOf(text: string | undefined, files: readonly string[]): Prompt {
  if (files.length > 0) return [...textOf(text), ...readFiles(files).map(asPart)]
  if (text !== undefined) return text
  const message = 'give a text, or a file with --file'
  throw new MusterError('request.invalid', `nothing is said: ${message}`, { issues: [{ path: '/text', message }] })
}

/**
 * An input with files: after the text where it is what a person says, else each in the field that its name is.
 *
 * @param input undefined where none was given
 */
export function withFiles(input: Json | undefined, files: readonly string[], schema: JsonSchema = {}): Json {
  const given = readFiles(files)
  if (typeof input === 'string' || Array.isArray(input) || (input === undefined && takes(schema, given.map(asPart)))) {
    return [...(Array.isArray(input) ? input : textOf(input)), ...given.map(asPart)]
  }
  if (input !== undefined && (input === null || typeof input !== 'object'))
    throw wrong('the input is no text and has no fields: it takes no file')
  const fields: { [name: string]: Json } = { ...input }
  const properties = (schema.properties ?? {}) as Record<string, { type?: unknown }>
  for (const { part, path, name } of given) {
    if (name === undefined) {
      const names = Object.keys(properties).slice(0, 10).join(', ')
      throw wrong(`${path}: say in which field of the input it goes, as ${path}#<field>${names && ` (of ${names})`}`)
    }
    const there = Object.hasOwn(fields, name) ? fields[name] : undefined
    const isList = Array.isArray(there) || (Object.hasOwn(properties, name) && properties[name]?.type === 'array')
    if (there !== undefined && !isList) throw wrong(`${path}: the input has a "${name}" already`)
    const value = isList ? [...(Array.isArray(there) ? there : []), part] : part
    Object.defineProperty(fields, name, { value, enumerable: true, configurable: true, writable: true })
  }
  return fields
}

function textOf(text: string | undefined): Part[] {
  return text ? [{ type: 'text', text }] : []
}

function takes(schema: JsonSchema, value: Json): boolean {
  return new Ajv2020({ strict: false }).compile(schema)(value)
}

/** In a message a name is what the model is told. */
function asPart({ part, path, name }: Given): MediaPart {
  if (name === undefined) return part
  if (part.type === 'file') return { ...part, name }
  throw wrong(`${path}: an image has no name; leave out "#${name}"`)
}

function readFiles(sources: readonly string[]): Given[] {
  if (sources.length > PARTS_MAX) throw wrong(`${sources.length} files; at most ${PARTS_MAX} are taken`)
  let left = BYTES_MAX
  return sources.map((source) => {
    // A path may have the sign in itself.
    const at = existsSync(source) ? -1 : source.lastIndexOf('#')
    const path = at === -1 ? source : source.slice(0, at)
    const name = at === -1 ? undefined : source.slice(at + 1)
    if (name === '') throw wrong(`${source}: there is no name after #`)
    const bytes = read(path, left)
    left -= bytes.length
    const part = mediaOf(basename(path).slice(-200), bytes.toString('base64'))
    if (part) return { part, path, name }
    throw wrong(
      `${path} is not a png, jpeg, gif, webp, PDF, Word or Excel file, or text in UTF-8: no model is given it`,
    )
  })
}

function read(path: string, most: number): Buffer {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (!stat) throw wrong(`${path} is not there`)
  if (!stat.isFile()) throw wrong(`${path} is no file`)
  if (stat.size === 0) throw wrong(`${path} is empty`)
  if (stat.size > most) throw wrong(`${path} has ${stat.size} bytes; ${most} of ${BYTES_MAX} are left for files`)
  try {
    return readFileSync(path)
  } catch (cause) {
    throw wrong(`${path} cannot be read`, cause)
  }
}

function wrong(message: string, cause?: unknown): MusterError {
  return new MusterError('request.invalid', `--file: ${message}`, { cause, issues: [{ path: '/file', message }] })
}
