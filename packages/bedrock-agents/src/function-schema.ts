import type { FunctionDefinition, ParameterDetail } from '@aws-sdk/client-bedrock-agent-runtime'
import { type Json, type JsonSchema, MusterError } from '@muster/protocol'
import type { Tool } from '@muster/sdk'

type Type = NonNullable<ParameterDetail['type']>

const TYPES: readonly string[] = ['string', 'number', 'integer', 'boolean', 'array'] satisfies Type[]

/**
 * A tool as a function of an action group, whose parameters are flat.
 *
 * @throws MusterError `definition.invalid` where the tool takes an object within its input, or one of several
 */
export function functionOf({ name, description, manifest }: Tool): FunctionDefinition {
  const { required, properties } = manifest.input
  if (properties === undefined) {
    const message = 'Bedrock passes an object with named fields, and no choice between several'
    const path = `/tools/${name}/input`
    throw new MusterError('definition.invalid', `${path}: ${message}`, { issues: [{ path, message }] })
  }
  const isRequired = (field: string) => Array.isArray(required) && required.includes(field)
  return {
    name: functionName(name),
    // Bedrock takes no empty one.
    ...(description === '' ? {} : { description }),
    parameters: Object.fromEntries(
      Object.entries(fieldsOf(manifest.input)).map(([field, schema]) => {
        const type = typeOf(schema)
        if (!type) {
          const message = 'Bedrock passes strings, numbers, booleans and arrays only'
          const path = `/tools/${name}/input/${field}`
          throw new MusterError('definition.invalid', `${path}: ${message}`, { issues: [{ path, message }] })
        }
        const { description: about } = schema
        return [
          field,
          { type, required: isRequired(field), ...(typeof about === 'string' ? { description: about } : {}) },
        ]
      }),
    ),
  }
}

function fieldsOf({ properties }: JsonSchema): Record<string, JsonSchema> {
  // Schemas of an object's properties, by JSON Schema.
  return (properties ?? {}) as Record<string, JsonSchema>
}

function typeOf({ type }: JsonSchema): Type | undefined {
  return TYPES.find((one): one is Type => one === type)
}

/** The input of a tool from what an agent wrote; the tool's own schema says whether it is right. */
export function inputOf({ manifest }: Tool, args: Record<string, string>): Record<string, Json> {
  const fields = fieldsOf(manifest.input)
  return Object.fromEntries(
    Object.entries(args).map(([field, text]) => [
      field,
      readValue(Object.hasOwn(fields, field) ? fields[field]?.type : undefined, text),
    ]),
  )
}

/** All values come as text. */
function readValue(type: unknown, text: string): Json {
  if (type === 'string' || type === undefined) return text
  try {
    return JSON.parse(text) as Json // what JSON.parse gives is JSON
  } catch {
    return text
  }
}

/** Bedrock allows no dots. */
export function functionName(tool: string): string {
  return tool.replaceAll('.', '_')
}
