import { type Json, newId } from '@muster/protocol'
import { expect, it } from 'vitest'
import { isMarked, referenceIn, unmarked } from './references.ts'

const run = newId()
const id = `ig_1_${run}`

it('is what has an id and nothing to say, as clients write it', () => {
  const references: Json[] = [{ type: 'item_reference', id }, { id }, { type: null, id }, { type: 'reasoning', id }]
  for (const item of references) expect(referenceIn(item)).toEqual({ id, response: run })
  // A vendor's own, what says something, and an item that a list has named by its place.
  const others: Json[] = [{ id: 'ig_1' }, { id, role: 'user', content: 'x' }, { id: `msg_${run}_0` }, id, 7, null, [id]]
  for (const item of others) expect(referenceIn(item)).toBeUndefined()
})

it('is named as the model has named it, also where it is answered', () => {
  const approved = { type: 'mcp_approval_response', approve: true, approval_request_id: `mcpr_1_${run}` }
  expect(isMarked(approved)).toBe(true)
  expect(unmarked(approved)).toEqual({ ...approved, approval_request_id: 'mcpr_1' })
  expect(unmarked({ type: 'reasoning', id, summary: [] })).toEqual({ type: 'reasoning', id: 'ig_1', summary: [] })
  for (const item of [{ id: 'ig_1', text: `_${run}` }, 'x', null])
    expect([isMarked(item), unmarked(item)]).toEqual([false, item])
})
