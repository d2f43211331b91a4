import type { Json } from './definition.ts'
import type { RunEvent } from './entry.ts'
import type { Run } from './run.ts'

/** Folds a run's entries into the run as clients see it; the same from Redis and from the archive. */
export class RunView {
  run: Run | undefined

  add({ seq, hash, entry, content }: RunEvent): void {
    if (entry.type === 'run.created') {
      const { run: id, tenant, definition, by, parent, session, subject, origin, labels, at } = entry
      this.run = {
        id,
        tenant,
        status: 'queued',
        kind: definition.kind,
        name: definition.name,
        version: definition.version,
        ...(session === undefined ? {} : { session }),
        ...(subject === undefined ? {} : { subject }),
        ...(parent ? { parent } : {}),
        ...(origin ? { origin } : {}),
        by,
        createdAt: at,
        input: field(content, 'input'),
        ...(field(content, 'plan') === undefined ? {} : { plan: field(content, 'plan') }),
        waiting: [],
        labels,
        steps: 0,
        usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 },
        costUsd: 0,
        epoch: 0,
        entries: seq,
        head: hash,
      }
      return
    }
    const { run } = this
    if (!run) return
    run.entries = seq
    run.head = hash
    switch (entry.type) {
      case 'run.activated':
        run.status = 'running'
        run.epoch = entry.epoch
        run.startedAt ??= entry.at
        break
      case 'step.waiting':
        run.waiting.push({
          step: entry.step,
          for: entry.for,
          target: entry.target,
          ...(entry.role === undefined ? {} : { role: entry.role }),
          ...(entry.rule === undefined ? {} : { rule: entry.rule }),
          ...(entry.given && { approvals: entry.given.map((by) => ({ by, role: entry.role ?? '', at: entry.at })) }),
          ...(entry.child === undefined ? {} : { child: entry.child }),
          ...(entry.until === undefined ? {} : { until: entry.until }),
          ...(content === undefined ? {} : { shown: content }),
          ...(entry.content === undefined ? {} : { digest: entry.content }),
        })
        break
      case 'approval.given':
        if (entry.more === undefined) run.waiting = run.waiting.filter((waiting) => waiting.step !== entry.step)
        else
          for (const waiting of run.waiting)
            if (waiting.step === entry.step)
              waiting.approvals = [
                ...(waiting.approvals ?? []),
                {
                  by: entry.by.user,
                  ...(entry.by.hands ? { hands: entry.by.hands } : {}),
                  ...{ role: entry.as ?? entry.role, at: entry.at },
                },
              ]
        break
      case 'approval.escalated':
        for (const waiting of run.waiting) if (waiting.step === entry.step) waiting.escalated = entry.role
        break
      case 'step.ended':
        run.waiting = run.waiting.filter((waiting) => waiting.step !== entry.step)
        if (!entry.retry && entry.status !== 'skipped') run.steps++
        run.costUsd += entry.costUsd ?? 0
        run.usage.inputTokens += entry.usage?.inputTokens ?? 0
        run.usage.outputTokens += entry.usage?.outputTokens ?? 0
        run.usage.cachedTokens += entry.usage?.cachedTokens ?? 0
        break
      case 'run.parked':
        run.status = 'waiting'
        break
      case 'run.paused':
        run.paused = { at: entry.at, by: entry.by }
        break
      case 'run.resumed':
        delete run.paused
        break
      case 'run.stopped': {
        const { stop: name, by, at, reason } = entry
        run.stopped = [...(run.stopped ?? []), { name, by, at, ...(reason === undefined ? {} : { reason }) }]
        break
      }
      case 'run.lifted':
        run.stopped = run.stopped?.filter(({ name }) => name !== entry.stop)
        if (run.stopped?.length === 0) delete run.stopped
        break
      case 'run.ended':
        delete run.stopped
        delete run.paused
        run.status = entry.status
        run.endedAt = entry.at
        run.labels = entry.labels
        run.waiting = []
        if (entry.error) run.error = entry.error
        if (content !== undefined) run.output = content
        break
      default:
    }
  }
}

function field(content: Json | undefined, name: string): Json | undefined {
  return content !== null && typeof content === 'object' && !Array.isArray(content) ? content[name] : undefined
}
