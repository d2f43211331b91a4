import { z } from 'zod'
import { startRun } from './run.ts'

/** How late a firing may be made up at most, s: less than an idempotency key is remembered, so that none is doubled. */
const CATCH_UP_S_MAX = 6 * 24 * 3600
/** Most planned times of one backfill. */
export const BACKFILL_MAX = 1000
/** Most schedules of a tenant. */
export const SCHEDULES_MAX = 1000

/** When a schedule fires: just one of `cron`, `everyS` and `at`. */
export const timetable = z.strictObject({
  /** Five fields as in crontab(5), or a name such as `@daily`. */
  cron: z.string().min(1).max(128).optional(),
  /** IANA name of the time zone of `cron`; UTC unless given. */
  timeZone: z.string().max(64).optional(),
  /** Seconds from one firing to the next, counted from when the schedule was written. */
  everyS: z.number().int().min(1).max(31_536_000).optional(),
  /** The one time of firing, ms since the Unix epoch. */
  at: z.number().int().nonnegative().max(8.64e15).optional(),
  /** It fires at no later time, ms since the Unix epoch. */
  until: z.number().int().nonnegative().max(8.64e15).optional(),
})
export type Timetable = z.infer<typeof timetable>

/** A schedule as it is sent. */
export const scheduleRequest = z.strictObject({
  when: timetable,
  run: startRun,
  /**
   * When the run before has not ended: `skip` the firing; `allow` both; `queue` one firing until that has ended; `cancel`
   * that, and start when it has ended.
   */
  overlap: z.enum(['skip', 'allow', 'queue', 'cancel']).default('skip'),
  /** A firing that comes later than this is skipped and counted, s. */
  catchUpS: z.number().int().nonnegative().max(CATCH_UP_S_MAX).default(60),
  /** It ends after so many firings. */
  firings: z.number().int().min(1).optional(),
})
export type ScheduleRequest = z.infer<typeof scheduleRequest>

/** A schedule as clients see it. Times are milliseconds since the Unix epoch. */
export const schedule = z.object({
  ...scheduleRequest.shape,
  id: z.string(),
  createdAt: z.number(),
  paused: z.boolean(),
  /** Runs started at planned times. */
  fired: z.number(),
  /** Firings left out because the run before had not ended. */
  overlapped: z.number(),
  /** Firings left out because their time was too long ago; from 1,000 at once on they are not counted. */
  missed: z.number(),
  /** The planned time of a firing that waits for the run before to end. */
  queued: z.number().optional(),
  /** The run that was started last. */
  lastRun: z.string().optional(),
  /** The next firing; absent when there is none any more. */
  next: z.number().optional(),
})
export type Schedule = z.infer<typeof schedule>
