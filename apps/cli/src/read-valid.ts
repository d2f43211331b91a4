import { readFileSync } from 'node:fs'
import { MusterError, zodIssues } from '@muster/protocol'
import type { z } from 'zod'

/** A JSON file of this shape. @throws MusterError `request.invalid` with the place of each mistake */
export function readValid<Schema extends z.ZodType>(file: string, schema: Schema): z.output<Schema> {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new MusterError('request.invalid', `${file} cannot be read`, { cause })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : ''
    throw new MusterError('request.invalid_json', `${file} is not valid JSON: ${message}`, { cause })
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new MusterError('request.invalid', `${file} is not as it has to be`, { issues: zodIssues(parsed.error) })
}
