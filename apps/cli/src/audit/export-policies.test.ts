import { expect, it } from 'vitest'
import { recordOfApps } from './export-policies.ts'

it('an export waits for the record of the app that was archived, where the ledger ends between those of two workers', () => {
  const apps = new Map([['s', 'b']])
  const said = (...all: [seq: number, app?: string][]) => new Map([['s', all.map(([seq, app]) => ({ seq, app }))]])
  expect(recordOfApps(apps, said([1, 'a'], [2, 'b']), 1)).toBe(2)
  expect(recordOfApps(apps, said([1, 'a'], [2, 'b']), 2)).toBe(0)
  // Its worker is about to archive it, or the archive has what nobody said.
  expect(recordOfApps(apps, said([1, 'a']), 1)).toBeUndefined()
  // Nothing is found of these: that they are unknown is noted.
  expect(recordOfApps(apps, said([1, 'a'], [2, 'b']), 0)).toBe(0)
  expect(recordOfApps(apps, said([1]), 1)).toBe(0)
  expect(recordOfApps(apps, new Map(), 1)).toBe(0)
})
