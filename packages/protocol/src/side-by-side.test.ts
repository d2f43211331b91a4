import { expect, it } from 'vitest'
import { sideBySide } from './side-by-side.ts'

it('does all, in their order and no more at a time; begins none once one has failed', async () => {
  const log: string[] = []
  let atOnce = 0
  const work = (failing?: number) => async (item: number) => {
    log.push(`${item} of ${++atOnce}`)
    await new Promise(setImmediate)
    atOnce--
    if (item === failing) throw new Error(`${item} failed`)
  }
  await sideBySide(2, [1, 2, 3, 4].values(), work())
  expect(log.splice(0)).toEqual(['1 of 1', '2 of 2', '3 of 2', '4 of 2'])
  await sideBySide(2, new Set<number>(), work())
  await expect(sideBySide(2, [1, 2, 3, 4, 5], work(1))).rejects.toThrow('1 failed')
  await new Promise(setImmediate)
  expect(log).toEqual(['1 of 1', '2 of 2'])
})
