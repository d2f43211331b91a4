import type { Schedule, ScheduleRequest } from '@muster/protocol'
import type { Request } from './request.ts'

/** A schedule as it is sent: what has a default may be left out. */
export type ScheduleOptions = Pick<ScheduleRequest, 'when'> & {
  run: Partial<ScheduleRequest['run']>
} & Partial<Omit<ScheduleRequest, 'when' | 'run'>>

/** A schedule with its next firings, up to five, ms since the Unix epoch. */
export type ShownSchedule = Schedule & { upcoming: number[] }

export interface SchedulesClient {
  create(schedule: ScheduleOptions): Promise<ShownSchedule>
  /** Oldest first. */
  list(): Promise<Schedule[]>
  get(id: string): Promise<ShownSchedule>
  replace(id: string, schedule: ScheduleOptions): Promise<ShownSchedule>
  /** Its runs go on. */
  remove(id: string): Promise<void>
  pause(id: string): Promise<ShownSchedule>
  /** What it passed over is not made up. */
  resume(id: string): Promise<ShownSchedule>
  /** Starts a run now, besides the planned ones; gives its id. */
  trigger(id: string): Promise<string>
  /** Starts the runs of planned times from `from` to `to` (ms since the Unix epoch, both passed), those that had none. */
  backfill(id: string, span: { from: number; to: number; dryRun?: boolean }): Promise<{ at: number; run?: string }[]>
}

export function schedulesClient(request: Request): SchedulesClient {
  const path = (id: string) => `/v1/schedules/${encodeURIComponent(id)}`
  return {
    create: (schedule) => request('POST', '/v1/schedules', schedule),
    list: async () => (await request<{ schedules: Schedule[] }>('GET', '/v1/schedules')).schedules,
    get: (id) => request('GET', path(id)),
    replace: (id, schedule) => request('PUT', path(id), schedule),
    remove: (id) => request('DELETE', path(id)),
    pause: (id) => request('POST', `${path(id)}/pause`),
    resume: (id) => request('POST', `${path(id)}/resume`),
    trigger: async (id) => (await request<{ run: string }>('POST', `${path(id)}/trigger`)).run,
    backfill: async (id, span) =>
      (await request<{ planned: { at: number; run?: string }[] }>('POST', `${path(id)}/backfill`, span)).planned,
  }
}
