import { utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { test } from './fixture.ts'
import { withStartLock } from './start-lock.ts'

test('one works at a time, and failure frees the lock', async ({ dir }) => {
  const file = join(dir, 'lock')
  let inside = 0
  const work = async (fail: boolean) => {
    expect(++inside).toBe(1)
    await sleep(20)
    inside--
    if (fail) throw new Error('failed')
  }
  const results = await Promise.allSettled(
    [true, false, true, false].map((fail) => withStartLock(file, () => work(fail))),
  )
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
})

test('the lock of a holder that was killed is taken, of one that lives is not', async ({ dir }) => {
  const file = join(dir, 'lock')
  await writeFile(file, '')
  const fresh = await Promise.race([withStartLock(file, async () => 'taken'), sleep(500, 'waits')])
  expect(fresh).toBe('waits')
  await utimes(file, new Date(), new Date(Date.now() - 6000))
  expect(await withStartLock(file, async () => 'taken')).toBe('taken')
})
