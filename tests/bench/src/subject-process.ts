/** A subject's own process: opens what it is named by, then answers one task after the other. */
import { Redis } from 'ioredis'
import type { Sample, Subject, Task } from './subject.ts'
import { subjects } from './subjects/index.ts'

interface Start {
  subject: keyof typeof subjects
  options: Record<string, unknown>
  /** Redis whose CPU time counts as the subject's. */
  redisUrl: string | undefined
}

type Question = { start: Start } | { task: Task } | { stop: true }

let subject: Subject | undefined
let redis: Redis | undefined

async function redisCpuMs(): Promise<number> {
  const info = (await redis?.info('cpu')) ?? ''
  let seconds = 0
  for (const [, value] of info.matchAll(/^used_cpu_(?:user|sys):([\d.]+)/gm)) seconds += Number(value)
  return seconds * 1000
}

async function measure(task: Task): Promise<Sample> {
  if (!subject) throw new Error('a task came before the start')
  if (task.leadMs) {
    await subject.run({ ...task, ms: task.leadMs }, { begin() {}, end() {} })
    await subject.check?.()
  }
  const usage = () => ({ worker: process.cpuUsage(), redis: redisCpuMs() })
  let before = usage()
  let after: typeof before | undefined
  await before.redis
  const work = await subject.run(task, {
    begin() {
      before = usage()
    },
    end() {
      after = usage()
    },
  })
  const { worker, redis: redisAfter } = after ?? usage()
  const { user, system } = before.worker
  const sample = {
    ...work,
    workerCpuMs: (worker.user - user + worker.system - system) / 1000,
    redisCpuMs: (await redisAfter) - (await before.redis),
    rssMiB: process.memoryUsage.rss() / 2 ** 20,
  }
  await subject.check?.()
  return sample
}

async function answer(question: Question): Promise<unknown> {
  if ('start' in question) {
    const { start } = question
    if (start.redisUrl !== undefined) redis = new Redis(start.redisUrl)
    // The parent names a subject and its options together, by the types of the same table.
    subject = await (subjects[start.subject] as (options: unknown) => Promise<Subject>)(start.options)
    return null
  }
  if ('task' in question) return measure(question.task)
  await subject?.close()
  redis?.disconnect()
  return null
}

process.on('message', async (question: Question) => {
  try {
    process.send?.({ answer: await answer(question) })
  } catch (error) {
    process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
  if ('stop' in question) process.disconnect()
})
// Nobody is left to measure for.
process.on('disconnect', () => setTimeout(() => process.exit(), 2000).unref())
// Ctrl-C reaches the whole process group; the parent decides when this process ends.
process.on('SIGINT', () => {})
