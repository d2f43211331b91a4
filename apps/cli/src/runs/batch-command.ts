import { readFileSync } from 'node:fs'
import { text as readAll } from 'node:stream/consumers'
import { type Json, MusterError } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { describeError, print } from '../output.ts'

export interface BatchOptions {
  file: string
  session?: string
  subject?: string
  idempotencyKey?: string
  json: boolean
}

/** `muster run --batch`: starts a run for each line of a file and prints its id. Gives the exit code. */
export async function batchCommand(muster: Muster, name: string, options: BatchOptions): Promise<number> {
  const { file, session, subject, idempotencyKey, json } = options
  const inputs = readLines(file === '-' ? await readAll(process.stdin) : readFile(file))
  const started = await muster.runs.startMany(
    name,
    inputs.map(({ input, line }) => ({
      input,
      ...(session === undefined ? {} : { session }),
      ...(subject === undefined ? {} : { subject }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey: `${idempotencyKey}/${line}` }),
    })),
  )
  const answers = started.map(({ run, error }, i) => ({ line: inputs[i]?.line, run, error }))
  if (json)
    print(answers.map(({ line, run, error }) => (run ? { line, id: run.id } : { line, error: error?.toProblem() })))
  else
    for (const { line, run, error } of answers) {
      if (run) console.log(run.id)
      else console.error(`${pc.dim(`line ${line}`)} ${describeError(error)}`)
    }
  return answers.every(({ run }) => run) ? 0 : 1
}

function readFile(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new MusterError('request.invalid', `--batch: ${file} cannot be read`, { cause })
  }
}

/** Nothing is started when a line is not JSON: half a file is nobody's wish. */
function readLines(text: string): { line: number; input: Json }[] {
  return text.split('\n').flatMap((content, i) => {
    if (content.trim() === '') return []
    try {
      return [{ line: i + 1, input: JSON.parse(content) }]
    } catch (cause) {
      throw new MusterError(
        'request.invalid_json',
        `--batch: line ${i + 1} is not valid JSON: ${cause instanceof Error ? cause.message : ''}`,
        { cause },
      )
    }
  })
}
