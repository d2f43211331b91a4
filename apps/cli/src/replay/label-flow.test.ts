import type { Json } from '@muster/protocol'
import { plan } from '@muster/sdk'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { LabelFlow } from './label-flow.ts'

const carried = plan({
  name: 'p',
  version: '1.0.0',
  input: z.object({}),
  steps: {
    read: { tool: 'read', input: {} },
    look: { tool: 'look', input: {} },
    pay: { tool: 'pay', input: { to: { $ref: '#/steps/read/output' } } },
  },
  output: { $ref: '#/steps/look/output' },
}).manifest

/** What is lost in a run whose `read` is untrusted, and where `pay` and the run say that they have these labels. */
function lost(pay: string[], run: string[], data: unknown, content: Json = {}) {
  const flow = new LabelFlow(
    () => undefined,
    () => data,
  )
  const definition = { kind: 'plan', name: 'p', version: '1.0.0', hash: carried.hash }
  const subject = (step: string) => ({ step, kind: 'tool', target: step, attempt: 1 })
  const entries = [
    { type: 'run.created', definition, labels: [] },
    { type: 'step.ended', ...subject('read'), status: 'ok', labels: ['untrusted'] },
    { type: 'step.ended', ...subject('look'), status: 'ok', labels: [] },
    { type: 'step.intent', ...subject('pay'), effect: 'once', labels: pay },
    { type: 'step.ended', ...subject('pay'), status: 'ok', labels: pay },
    { type: 'run.ended', status: 'succeeded', labels: run },
  ]
  return entries.flatMap((entry, i) =>
    flow.take({ seq: i + 1, hash: '', entry: { seq: i + 1, ...entry }, content } as never),
  )
}

describe('labels of a plan that the app carries', () => {
  it('are followed along its references where it is data, which the app has published', () => {
    expect(lost(['untrusted'], [], carried.data)).toEqual([])
    expect(lost([], [], carried.data)).toEqual([
      { seq: 4, message: expect.stringContaining('step pay has not the labels untrusted') },
    ])
    expect(lost(['untrusted'], [], { steps: { nonsense: 1 } })).toMatchObject([
      { seq: 3, unknown: expect.any(String) },
      { seq: 6, unknown: expect.any(String) },
    ])
  })

  it('cannot be told where it is code', () => {
    expect(lost([], [], undefined).every(({ unknown }) => unknown)).toBe(true)
    expect(lost(['untrusted'], ['untrusted'], undefined)).toMatchObject([{ seq: 3 }])
  })
})
