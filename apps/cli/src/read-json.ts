import { readFileSync } from 'node:fs'
import { text as readAll } from 'node:stream/consumers'
import { type Json, type JsonSchema, MusterError } from '@muster/protocol'
import { Ajv2020 } from 'ajv/dist/2020.js'

/**
 * A file's name, `-` for standard input, or JSON itself. A file that is not JSON, or whose JSON does not match a schema
 * that also takes text, goes in as text.
 *
 * @param option what to call it in an error
 */
export async function readJson(source: string, option: string, schema?: JsonSchema): Promise<Json> {
  if (/^\s*([{["]|(?:null|true|false|-?\d+(?:\.\d+)?)\s*$)/.test(source)) {
    try {
      return JSON.parse(source)
    } catch (cause) {
      throw new MusterError(
        'request.invalid_json',
        `${option} is not valid JSON: ${cause instanceof Error ? cause.message : ''}`,
        { cause },
      )
    }
  }
  let text: string
  try {
    text = source === '-' ? await readAll(process.stdin) : readFileSync(source, 'utf8')
  } catch (cause) {
    throw new MusterError(
      'request.invalid',
      `${option}: ${source} cannot be read. If it is no file but a text, put it in double quotes: it is JSON then`,
      { cause },
    )
  }
  const accepts = schema ? new Ajv2020({ strict: false }).compile(schema) : () => true
  let value: Json
  try {
    value = JSON.parse(text)
  } catch {
    return text
  }
  return !accepts(value) && accepts(text) ? text : value
}
