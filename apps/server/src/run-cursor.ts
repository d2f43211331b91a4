import { isId } from '@muster/protocol'
import { z } from 'zod'

/** Where a page of runs ended: at the run of this id. */
export const runCursor = z.string().refine(isId, 'take it as it came with the page before')
