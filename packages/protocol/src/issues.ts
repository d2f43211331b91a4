import type { z } from 'zod'
import type { Issue } from './errors.ts'
import { pointerOf } from './reference.ts'

/** zod's issues with their paths as JSON Pointers, below `base`. */
export function zodIssues(error: z.ZodError, base = ''): Issue[] {
  return error.issues.map(({ path, message }) => ({ path: base + pointerOf(path), message }))
}

/** What is wrong, and where, in one line. */
export function issuesText(issues: readonly Issue[]): string {
  return issues.map(({ path, message }) => `${path || '/'} ${message}`).join('; ')
}
