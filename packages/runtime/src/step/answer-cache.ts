import { hash } from 'node:crypto'
import type { ModelRequest } from '@muster/models'
import type { ActiveRun } from '../run/active-run.ts'
import { redactOutput } from './redacting.ts'
import type { Executed, Operation } from './step.ts'

/** A model call that is answered as an identical one was: of the same tenant and subject, at the same targets. */
export interface CachedCall {
  run: ActiveRun
  operation: Operation
  /** As it is sent. */
  request: ModelRequest
  /** How long an answer is good, ms. */
  ttlMs: number
}

export async function answered(
  { run, operation, request, ttlMs }: CachedCall,
  ask: () => Promise<Executed>,
): Promise<Executed> {
  const { memory, models, log } = run.services
  const { subject } = run.created
  const { target } = operation
  const { messages, tools, output, settings } = request
  const whole = JSON.stringify([models.leadsTo(target), subject ?? null, messages, tools, output, settings])
  const digest = hash('sha256', whole, 'hex')
  // Nothing depends on it: without the store, the model is asked.
  const missed = (error: unknown) => {
    log.warn({ run: run.id, err: error }, 'answers of models are not kept')
    return undefined
  }
  const known = await memory.answers.find(run.tenant, digest).catch(missed)
  if (known) return { ...known, usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }, costUsd: 0, cached: true }
  const executed = await ask()
  const { model = '' } = executed
  const { redactor } = run
  const { text } = redactor ? redactOutput(redactor, operation, executed.text) : executed
  await memory.answers.keep({ tenant: run.tenant, run: run.id, subject }, digest, { text, model }, ttlMs).catch(missed)
  return executed
}
