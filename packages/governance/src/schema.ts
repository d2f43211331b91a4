import type { SchemaJson, Type, TypeOfAttribute } from '@cedar-policy/cedar-wasm/nodejs'
import type { AppManifest, Json, JsonSchema } from '@muster/protocol'
import type { Operator, Term } from './history-term.ts'
import { TARGET_FIELDS } from './target.ts'

/** Type of an input's field in Cedar: JSON string, boolean, integer, number, or an array of one of them. */
export type InputType =
  | { type: 'String' }
  | { type: 'Boolean' }
  | { type: 'Long' }
  | { type: 'Extension'; name: 'decimal' }
  | { type: 'Set'; element: InputType }

/**
 * The Cedar schema of an app: entity types Tenant, Agent, Plan, Tool, ClientTool, Model, Memory and Code,
 * and the actions that the runtime asks about. `context.input` of `tool:call` has every top-level field of
 * every tool's input, each optional; a field whose type differs between tools is left out, because
 * Cedar has one context type per action. `context.provider`, `model` and `region` of `model:invoke` are there for policies that
 * read one of them. `context.history`, where there are terms of it, has each by its name.
 */
export function cedarSchema(
  app: AppManifest,
  terms: readonly Term[] = [],
  { ofTarget = false }: { ofTarget?: boolean } = {},
): {
  schema: SchemaJson<string>
  inputTypes: ReadonlyMap<string, InputType>
} {
  const inputs = new Map<string, InputType | undefined>()
  for (const tool of app.tools) {
    for (const [field, schema] of Object.entries(propertiesOf(tool.input))) {
      const type = cedarType(schema)
      const known = inputs.get(field)
      if (!inputs.has(field)) inputs.set(field, type)
      else if (JSON.stringify(known) !== JSON.stringify(type)) inputs.set(field, undefined)
    }
  }
  const inputTypes = new Map<string, InputType>()
  // The one name that would not be a field of an object.
  inputs.delete('__proto__')
  for (const [field, type] of inputs) if (type) inputTypes.set(field, type)
  const attributes = Object.fromEntries([...inputTypes].map(([field, type]) => [field, { ...type, required: false }]))
  const clientInput = Object.fromEntries(
    CLIENT_FIELDS.map((field) => [field, { type: 'String', required: field === 'arguments' }]),
  )
  const context = (extra: Record<string, TypeOfAttribute<string>>): Type<string> => ({
    type: 'Record',
    attributes: {
      labels: { type: 'Set', element: { type: 'String' }, required: true },
      approvals: { type: 'Set', element: { type: 'String' }, required: true },
      user: { type: 'String', required: true },
      key: { type: 'String', required: false },
      team: { type: 'String', required: false },
      spent: { type: 'Extension', name: 'decimal', required: true },
      ...extra,
      ...(terms.length > 0 ? { history: historyType(terms) } : {}),
    },
  })
  const actors = ['Agent', 'Plan']
  const named = { name: { type: 'String', required: true } } as const
  const action = (resource: string, extra: Record<string, TypeOfAttribute<string>> = {}) => ({
    appliesTo: { principalTypes: actors, resourceTypes: [resource], context: context(extra) },
  })
  const schema: SchemaJson<string> = {
    '': {
      entityTypes: {
        Tenant: {},
        Agent: { memberOfTypes: ['Tenant'], shape: { type: 'Record', attributes: named } },
        Plan: { memberOfTypes: ['Tenant'], shape: { type: 'Record', attributes: named } },
        Model: { shape: { type: 'Record', attributes: named } },
        ClientTool: { shape: { type: 'Record', attributes: named } },
        Memory: { shape: { type: 'Record', attributes: named } },
        Code: {
          shape: { type: 'Record', attributes: { ...named, effect: { type: 'String', required: true } } },
        },
        Tool: {
          shape: {
            type: 'Record',
            attributes: {
              ...named,
              effect: { type: 'String', required: true },
              approved: { type: 'Boolean', required: true },
            },
          },
        },
      },
      actions: {
        'model:invoke': action('Model', ofTarget ? TARGET : {}),
        'tool:call': action('Tool', {
          input: { type: 'Record', attributes, required: true },
          newDestination: { type: 'Boolean', required: true },
        }),
        'gateway:tool': action('ClientTool', { input: { type: 'Record', attributes: clientInput, required: true } }),
        'code:run': action('Code'),
        'memory:read': action('Memory'),
        'memory:write': action('Memory'),
        'agent:delegate': action('Agent'),
      },
    },
  }
  return { schema, inputTypes }
}

const TARGET = Object.fromEntries(TARGET_FIELDS.map((field) => [field, { type: 'String', required: true } as const]))

/**
 * What policies can read of a call that a client of the gateway makes itself: nobody has told us its tools' schemas, so
 * these fields, where the call has them, as texts; and all of it as `arguments`.
 */
const CLIENT_FIELDS = [
  'arguments',
  'text',
  'cmd',
  'command',
  'input',
  'code',
  'name',
  'workdir',
  'path',
  'file_path',
  'content',
  'old_string',
  'new_string',
  'pattern',
  'query',
  'url',
  'prompt',
  'description',
  'justification',
] as const

/** The arguments of such a call as policies read them; what is no text is as JSON, a list of texts with blanks between. */
export function clientInput(input: Json): { [field: string]: string } {
  const values: { [field: string]: string } = { arguments: JSON.stringify(input) }
  if (input === null || typeof input !== 'object' || Array.isArray(input)) return values
  for (const field of CLIENT_FIELDS) {
    const value = Object.hasOwn(input, field) ? input[field] : undefined
    if (field !== 'arguments' && value != null) values[field] = textOf(value)
  }
  return values
}

function textOf(value: Json): string {
  if (typeof value === 'string') return value
  const isWords = Array.isArray(value) && value.every((item) => typeof item === 'string')
  return isWords ? value.join(' ') : JSON.stringify(value)
}

const TERM_TYPES: { readonly [operator in Operator]: Type<string> } = {
  count: { type: 'Long' },
  sum: { type: 'Extension', name: 'decimal' },
  formerly: { type: 'Boolean' },
  previous: { type: 'Boolean' },
  approvers: { type: 'Set', element: { type: 'String' } },
  last: { type: 'Extension', name: 'datetime' },
}

function historyType(terms: readonly Term[]): TypeOfAttribute<string> {
  return {
    type: 'Record',
    attributes: {
      now: { type: 'Extension', name: 'datetime', required: true },
      session: { type: 'String', required: true },
      ...Object.fromEntries(
        terms.map(({ name, operator, isInteger }) => {
          const type = TERM_TYPES[isInteger ? 'count' : operator]
          return [name, { ...type, required: true }] as const
        }),
      ),
    },
    required: true,
  }
}

function propertiesOf(schema: JsonSchema): Record<string, JsonSchema> {
  const { properties } = schema
  // JSON Schema from zod: `properties`, where present, maps names to schemas.
  return typeof properties === 'object' && properties !== null ? (properties as Record<string, JsonSchema>) : {}
}

function cedarType(schema: JsonSchema): InputType | undefined {
  switch (schema.type) {
    case 'string':
      return { type: 'String' }
    case 'boolean':
      return { type: 'Boolean' }
    case 'integer':
      return { type: 'Long' }
    case 'number':
      return { type: 'Extension', name: 'decimal' }
    case 'array': {
      // zod writes `items` as one schema.
      const element = cedarType((schema.items ?? {}) as JsonSchema)
      return element && { type: 'Set', element }
    }
    default:
      return undefined
  }
}
