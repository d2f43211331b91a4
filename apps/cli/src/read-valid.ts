import { readFileSync } from 'node:fs'
import { issuesText, MusterError, zodIssues } from '@muster/protocol'
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

/**
 * A value of this shape, as it was given.
 *
 * @param at the path of it in what is sent
 * @param what to call it in the error, where its paths do not say
 * @throws MusterError `request.invalid` with the place of each mistake
 */
export function valid<Schema extends z.ZodType>(
  value: unknown,
  schema: Schema,
  { at, what }: { at?: string; what?: string } = {},
): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issues = zodIssues(parsed.error, at)
  const text = issuesText(issues)
  throw new MusterError('request.invalid', what === undefined ? text : `${what}: ${text}`, { issues })
}
