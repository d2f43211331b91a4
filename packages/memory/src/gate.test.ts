import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { openGate } from './gate.ts'

test('lets work through in order, never more than its width at once, also past failures', async () => {
  const gate = openGate(3)
  const started: number[] = []
  let running = 0
  let most = 0
  const all = Array.from({ length: 20 }, (_, i) =>
    gate(async () => {
      started.push(i)
      most = Math.max(most, ++running)
      await sleep(i % 4)
      running--
      if (i % 3 === 0) throw new Error('failed')
      return i
    }),
  )
  const results = await Promise.allSettled(all)
  expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(7)
  expect(most).toBe(3)
  expect(started).toEqual([...started.keys()])
  expect(await gate(async () => 'open')).toBe('open')
})
