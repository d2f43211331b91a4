import { MusterError } from '@muster/protocol'
import type { ModelReply, ModelRequest } from './message.ts'
import type { Models } from './models.ts'

/** The error that a call must end with. */
export async function failure(promise: Promise<unknown>): Promise<MusterError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (error instanceof MusterError) return error
  throw error ?? new Error('did not fail')
}

/** A call of the route `default`, and what was shown while it was answered. */
export async function watched(models: Models, request: ModelRequest): Promise<{ reply: ModelReply; written: string }> {
  let written = ''
  const reply = await models.invoke('default', {
    ...request,
    onDelta: (text) => {
      written += text
    },
  })
  return { reply, written }
}
