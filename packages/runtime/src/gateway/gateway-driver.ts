import { hostedTools, type ToolCall } from '@muster/models'
import { type ErrorCode, errorCatalog, MusterError, type StepError } from '@muster/protocol'
import type { ActiveRun, Driver } from '../run/active-run.ts'
import type { StepState } from '../step/step.ts'
import { denialOf } from './denial.ts'
import type { Exchange } from './exchange.ts'
import { clientToolStep, relayStep, unansweredStep, type Verdict } from './gateway-steps.ts'

const MODEL = 'model'
/** Characters of a name that a model has made up, in the name of a step. */
const NAME_MAX = 64
/** Tools of one request that are decided on before it is asked. */
const HOSTED_MAX = 128

/**
 * Drives a client's request: one model call, and beside it a step for each call that the model wants the client to make,
 * decided before the client sees it. Only the process that holds the request can go on with it.
 */
export function gatewayDriver(run: ActiveRun, exchange: Exchange | undefined): Driver {
  /** Who waits for the decisions on calls, by their steps. */
  const asked = new Map<string, (step: StepState) => void>()

  function ask(call: ToolCall, onEnd: (step: StepState) => void): void {
    const id = `${asked.size + 1}.${call.name.slice(0, NAME_MAX)}`
    asked.set(id, onEnd)
    run.step(clientToolStep(id, call, run.created.labels))
  }

  function gate(call: ToolCall, signal: AbortSignal): Promise<Verdict> {
    return new Promise((resolve) => {
      // Nobody waits for it any more, and no step ends.
      signal.addEventListener('abort', () => resolve({ allow: false, message: 'The request was cancelled.' }))
      ask(call, (step) => callEnded(step, resolve))
    })
  }

  /** What the vendor would do by itself is decided before the model is asked. */
  function begin(exchange: Exchange): void {
    const { dialect, body } = exchange.request
    const hosted = hostedTools(dialect, body)
    const relay = () => run.step(relayStep(run, MODEL, exchange, gate))
    if (hosted.length === 0) relay()
    if (hosted.length > HOSTED_MAX) {
      const message = `/tools has ${hosted.length} that the vendor runs by itself, and may have ${HOSTED_MAX}`
      refuse({ code: 'request.invalid', message })
      return
    }
    let open = hosted.length
    for (const call of hosted)
      ask(call, (step) => {
        open--
        if (step.outcome?.status !== 'ok') refuse(told(step))
        else if (open === 0) relay()
      })
  }

  function refuse({ code, message }: StepError): void {
    run.fail({ code, message })
    // A refusal is told when it is recorded. Where the model was asked, the exchange has its own error already.
    run.whenDurable(run.seq, () => exchange?.failed(toError(code, message)))
  }

  /** Why a step has not ended well, in words for the client. */
  function told(step: StepState): StepError {
    const { decision, outcome, spec } = step
    const error = outcome?.error ?? { code: 'internal', message: 'the step has no outcome' }
    if (error.code !== 'policy.denied' || !decision) return error
    return { code: error.code, message: denialOf(spec.operation.target, decision, run.policy, run.id) }
  }

  function callEnded(step: StepState, tell: (verdict: Verdict) => void): void {
    if (step.outcome?.status !== 'ok') tell({ allow: false, message: told(step).message })
    // What the client does with it is an effect: what allows it comes first.
    else run.whenDurable(run.seq, () => tell({ allow: true }))
  }

  return {
    asynchronous: false,
    rollback: false,
    start() {
      if (exchange) {
        begin(exchange)
        return
      }
      run.step(unansweredStep(MODEL, run.input))
      run.fail({
        code: 'gateway.interrupted',
        message: 'the server that held the request ended before the answer was whole; the model is not asked again',
      })
    },
    ended(step) {
      const onEnd = asked.get(step.spec.id)
      if (onEnd) onEnd(step)
      else if (step.outcome?.status === 'ok') run.finishWith(step.outcome)
      else refuse(told(step))
    },
  }
}

function toError(code: string, message: string): MusterError {
  return new MusterError(Object.hasOwn(errorCatalog, code) ? (code as ErrorCode) : 'internal', message)
}
