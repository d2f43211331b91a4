import { z } from 'zod'

/** A body that may be left out, which comes as `null` then: as if it were empty. */
export function optional<T extends z.ZodObject>(body: T) {
  return z.preprocess((value) => value ?? {}, body)
}
