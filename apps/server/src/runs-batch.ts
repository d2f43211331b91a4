import { BATCH_RUNS_MAX, type BatchedRun, batchedRun, type Issue, MusterError } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from './context.ts'
import { actorOf } from './keys.ts'
import { knownError, problemSchema, problemsOf } from './problems.ts'
import { checkBegun, checkSession } from './roleless.ts'

/** What was sent in the place of a run and is none: its batch goes on without it. */
class Unmatched {
  readonly value: unknown

  constructor(value: unknown) {
    this.value = value
  }
}

const result = z.union([
  z.object({ id: z.string(), created: z.boolean().describe('false: its key started it before') }),
  z.object({ error: problemSchema }),
])
type Result = z.infer<typeof result>

/** `POST /v1/runs/batch`. */
export function batchRoute(server: Server, context: Context): void {
  const { journal, memory, reader, admission, enter, keyOf } = context
  server.post(
    '/v1/runs/batch',
    {
      config: { access: 'own' },
      schema: {
        tags: ['runs'],
        security: [{ key: [] }],
        summary: `Start up to ${BATCH_RUNS_MAX} runs`,
        description:
          'Each run is answered by itself, in their order: its id once it is durable, or a problem. Runs with an idempotencyKey may be sent again, all or some.',
        body: z.strictObject({
          runs: z
            .array(z.union([batchedRun, z.unknown().transform((value) => new Unmatched(value))]))
            .min(1)
            .max(BATCH_RUNS_MAX),
        }),
        response: { 200: z.object({ results: z.array(result) }), ...problemsOf(400, 401, 413) },
      },
    },
    async (request) => {
      const who = keyOf(request)
      const admit = async (item: BatchedRun | Unmatched) => {
        if (item instanceof Unmatched) throw mismatch(item.value)
        const { idempotencyKey, ...run } = item
        const admitted = await admission.admit(run, who.tenant, actorOf(who))
        await checkSession(context, who, admitted.run.session)
        return { ...admitted, idempotencyKey, giveBack: await enter(admitted.run) }
      }
      const admitted = await Promise.allSettled(request.body.runs.map(admit))
      const accepted = admitted.flatMap((item) => (item.status === 'fulfilled' ? [item.value] : []))
      const outcomes = await journal.createMany(accepted, { offload: memory.blobs.put })
      const told = await Promise.allSettled(
        outcomes.map(async (outcome, i) => {
          if (outcome.status === 'fulfilled' && outcome.value.created) return outcome.value
          await accepted[i]?.giveBack()
          if (outcome.status === 'rejected') throw outcome.reason
          await checkBegun(reader, who, outcome.value.id)
          return outcome.value
        }),
      )
      const created = told.values()
      return {
        results: admitted.map((item): Result => {
          const outcome = item.status === 'rejected' ? item : created.next().value
          if (outcome?.status === 'fulfilled') return outcome.value
          const error = knownError(outcome?.reason)
          if (error.status >= 500) request.log.error({ err: error }, error.message)
          return { error: error.toProblem() }
        }),
      }
    },
  )
}

function mismatch(value: unknown): MusterError {
  const issues: Issue[] = (batchedRun.safeParse(value).error?.issues ?? []).map(({ path, message }) => ({
    path: path.map((part) => `/${String(part)}`).join(''),
    message,
  }))
  return new MusterError('request.invalid', issues.map(({ path, message }) => `${path || '/'} ${message}`).join('; '), {
    issues,
  })
}
