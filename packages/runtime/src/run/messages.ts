import type { Message } from '@muster/journal'
import { receiveApproval } from '../step/approval.ts'
import { receiveCallback } from '../step/callback.ts'
import { childEnded } from '../step/step-end.ts'
import { receiveSignal } from '../step/waits.ts'
import type { ActiveRun } from './active-run.ts'
import { type ChildReport, childId } from './child.ts'

/**
 * What comes to a run from outside. Every message leaves an entry, so that taking it from the inbox is part of the same
 * append.
 */
export function receive(run: ActiveRun, message: Message, children: ReadonlyMap<string, ChildReport>): void {
  switch (message.type) {
    case 'cancel':
      run.requestCancel(message.by, message.now)
      break
    case 'pause':
      run.pause(message.by)
      break
    case 'resume':
      run.unpause(message.by)
      break
    case 'lifted':
      run.takeLifted()
      break
    case 'signal':
      receiveSignal(run, message, message.payload)
      // Whoever interrupts wants to be heard before what is under way has ended.
      if (message.interrupt) run.cancelSteps('')
      break
    default:
      receiveForStep(run, message, children)
  }
}

function receiveForStep(
  run: ActiveRun,
  message: Extract<Message, { step: string }>,
  children: ReadonlyMap<string, ChildReport>,
): void {
  const at = run.services.clock()
  const step = run.steps.get(message.step)
  if (message.type === 'approval') {
    receiveApproval(run, message)
  } else if (message.type === 'callback') {
    if (step) receiveCallback(run, step, message)
    else run.append({ type: 'message.ignored', at, about: 'callback', step: message.step })
  } else {
    const report = children.get(message.run)
    // A quick child tells of its end before its parent has written that it waits.
    if (step && !step.outcome && message.run === childId(run.id, step.spec.id) && report) childEnded(run, step, report)
    else run.append({ type: 'message.ignored', at, about: 'child', step: message.step })
  }
}
