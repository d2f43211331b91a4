import { exactJson, newId } from '@muster/protocol'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { inputItems, type Turn } from './input-items.ts'

const all = (turns: readonly Turn[]) => inputItems(turns, { limit: 10_000, order: 'asc' }).data

it('gives what clients write in short as it stands for, and all else as it is', () => {
  const parts = [{ type: 'input_image', image_url: 'data:image/png;base64,AA', detail: 'low' }]
  const call = { type: 'function_call', call_id: 'c', name: 'pay', arguments: '{}', status: 'incomplete' }
  const thought = { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'sealed' }
  const items = [
    { role: 'developer', content: 'Be brief.' },
    { type: 'message', role: 'user', content: parts },
    thought,
    { role: 'assistant', content: 'I pay.' },
    call,
    { type: 'function_call_output', call_id: 'c', output: 'paid' },
    // None of these are items.
    ...['text', null, exactJson('9007199254740993')],
    { type: 'item_reference', id: 'rs_1' },
  ]
  const status = 'completed'
  expect(all([{ run: 'r', items }])).toEqual([
    { id: 'msg_r_0', type: 'message', role: 'developer', status, content: [{ type: 'input_text', text: 'Be brief.' }] },
    { id: 'msg_r_1', type: 'message', role: 'user', status, content: parts },
    thought,
    {
      ...{ id: 'msg_r_3', type: 'message', role: 'assistant', status },
      content: [{ type: 'output_text', text: 'I pay.', annotations: [] }],
    },
    { id: 'fc_r_4', ...call },
    { id: 'fc_r_5', type: 'function_call_output', call_id: 'c', output: 'paid', status },
    { id: 'item_r_9', type: 'item_reference' },
  ])
})

it('is listed whole page by page either way, each item under one id of its own that lasts', () => {
  // Some servers give the same ids in every response, and clients send what they were given again.
  const runs = Array.from({ length: 5 }, () => newId())
  const taken = [`msg_${runs[0]}_0`, `msg_${runs[1]}_1`]
  const id = fc.option(fc.constantFrom('msg_1', 'fc_1', '', ...taken, 'x'.repeat(129)), { nil: undefined })
  const item = fc.record({ id, type: fc.constantFrom('message', 'function_call', 'odd'), role: fc.constant('user') })
  const turns = fc
    .array(fc.array(item, { maxLength: 5 }), { minLength: 1, maxLength: 5 })
    .map((all) => all.map((items, at) => ({ run: runs[at] ?? '', items: items as Turn['items'] }))) // JSON but for undefined
  fc.assert(
    fc.property(turns, fc.integer({ min: 1, max: 100 }), fc.constantFrom('asc', 'desc'), (turns, limit, order) => {
      const paged: string[] = []
      let after: string | undefined
      for (let more = true; more; ) {
        const page = inputItems(turns, { limit, order, after })
        const ids = page.data.map(({ id }) => id)
        expect([page.first_id, page.last_id]).toEqual([ids[0] ?? null, ids.at(-1) ?? null])
        paged.push(...ids)
        expect(page.has_more).toBe(paged.length < all(turns).length)
        expect(ids.length === limit || !page.has_more).toBe(true)
        for (const id of ids) expect(id.length).toBeLessThanOrEqual(128)
        after = ids.at(-1)
        more = page.has_more
      }
      const ids = all(turns).map(({ id }) => id)
      expect(paged).toEqual(order === 'asc' ? ids : ids.toReversed())
      expect(new Set(ids).size).toBe(turns.flatMap(({ items }) => items).length)
      expect(all(turns.slice(0, -1)).map(({ id }) => id)).toEqual(ids.slice(0, all(turns.slice(0, -1)).length))
    }),
  )
})

it('goes on after no item that is not there', () => {
  const list = () => inputItems([{ run: 'r', items: [] }], { limit: 1, order: 'asc', after: 'msg_r_0' })
  expect(list).toThrowError(
    expect.objectContaining({ code: 'request.invalid', issues: [{ path: '/after', message: expect.any(String) }] }),
  )
})
