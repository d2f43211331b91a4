import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MusterError } from '@muster/protocol'
import { startRedis } from '@muster/stack'
import { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { openLog } from './log.ts'

it('has what an error says, and not what was asked of a database', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'muster-log-'))
  const service = await startRedis({ dir: join(dir, 'redis'), fsync: 'everysec', log: () => {} })
  const redis = new Redis(service.url)
  onTestFinished(async () => {
    redis.disconnect()
    await service.stop()
    rmSync(dir, { recursive: true })
  })
  await redis.set('text', '')
  const error = await redis.rpush('text', 'what a client has told').then(
    () => new Error('it was taken'),
    (error: Error) => error,
  )
  expect(JSON.stringify(error)).toContain('what a client has told')
  const file = join(dir, 'log')
  const log = openLog('info', 'test', openSync(file, 'a'))
  log.warn({ run: 'r1', err: error }, 'not written')
  log.error(error)
  log.warn({ err: new MusterError('memory.unavailable', 'away', { cause: error }) })
  const lines = readFileSync(file, 'utf8').trim().split('\n')
  expect(lines.join()).not.toContain('what a client has told')
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { run: 'r1', err: { message: expect.stringContaining('WRONGTYPE') }, msg: 'not written' },
    { err: { stack: expect.stringContaining('WRONGTYPE') } },
    { err: { code: 'memory.unavailable', message: expect.stringContaining('away') } },
  ])
})
