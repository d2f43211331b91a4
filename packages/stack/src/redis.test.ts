import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MusterError } from '@muster/protocol'
import { Redis } from 'ioredis'
import { afterAll, describe, expect, vi } from 'vitest'
import { test } from './fixture.ts'
import { freePort } from './port.ts'
import { startRedis } from './redis.ts'

// The first start of a machine downloads packages.
vi.setConfig({ testTimeout: 120_000 })

async function ask<T>(url: string, work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { retryStrategy: () => null, maxRetriesPerRequest: 0 })
  redis.on('error', () => undefined)
  try {
    return await work(redis)
  } finally {
    redis.disconnect()
  }
}

// A test that fails leaves its process, which would keep the test runner waiting.
const scripts: ChildProcess[] = []
afterAll(() => {
  for (const child of scripts) child.kill('SIGKILL')
})

/** Code that a process of its own runs, which has startRedis and prints what it passes to say(). */
function script(code: string) {
  const door = JSON.stringify(join(import.meta.dirname, 'index.ts'))
  const head = `import { startRedis } from ${door}; const say = (value) => process.stdout.write(JSON.stringify(value));`
  const child = spawn(process.execPath, ['--input-type=module', '-e', head + code], {
    // A process group of its own, as a terminal gives it.
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  scripts.push(child)
  const said = once(child.stdout, 'data').then(([data]): unknown => JSON.parse(String(data)))
  return { child, said, exited: once(child, 'exit') }
}

async function errorOf(promise: Promise<unknown>): Promise<MusterError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof MusterError) return error
  throw new Error('No MusterError', { cause: error })
}

const isUp = (url: string) =>
  ask(url, (redis) => redis.ping()).then(
    () => true,
    () => false,
  )

describe.concurrent('a started server', () => {
  test('answers on loopback and keeps all it acknowledges', async ({ redis, dir }) => {
    const { url, source, version, pid } = await redis()
    expect(url).toMatch(/^redis:\/\/127\.0\.0\.1:\d+$/)
    expect(['path', 'package', 'docker']).toContain(source)
    expect(version).toMatch(/^\d+\.\d+/)
    expect(pid).toBeGreaterThan(0)
    const setting = (name: string) => ask(url, async (client) => Object.values(await client.config('GET', name)).at(-1))
    expect(await setting('appendonly')).toBe('yes')
    expect(await setting('appendfsync')).toBe('always')
    expect(await setting('maxmemory-policy')).toBe('noeviction')
    expect(await setting('save')).toBe('')
    expect(await setting('bind')).toBe('127.0.0.1')
    expect(await setting('dir')).toBe(join(dir, 'redis'))
  })

  test('takes the port and the sync mode that it is given', async ({ redis }) => {
    const port = await freePort()
    const { url } = await redis({ port, fsync: 'everysec' })
    expect(url).toBe(`redis://127.0.0.1:${port}`)
    const reply = await ask(url, (client) => client.config('GET', 'appendfsync'))
    expect(JSON.stringify(reply)).toContain('everysec')
  })

  test('ends at stop(), which may be called again', async ({ redis }) => {
    const { url, stop } = await redis()
    await Promise.all([stop(), stop()])
    await stop()
    expect(await isUp(url)).toBe(false)
  })

  test('has its data at the next start', async ({ redis }) => {
    const first = await redis()
    await ask(first.url, (client) => client.set('key', 'value'))
    await first.stop()
    const second = await redis()
    expect(second.source).not.toBe('running')
    expect(await ask(second.url, (client) => client.get('key'))).toBe('value')
  })

  test('has all that it acknowledged after kill -9', async ({ redis }) => {
    const first = await redis()
    let acknowledged = 0
    await ask(first.url, async (client) => {
      while (await client.incr('count').catch(() => 0)) {
        if (++acknowledged === 500) process.kill(first.pid ?? 0, 'SIGKILL')
      }
    })
    expect(acknowledged).toBeGreaterThanOrEqual(500)
    const second = await redis()
    expect(Number(await ask(second.url, (client) => client.get('count')))).toBeGreaterThanOrEqual(acknowledged)
    await first.stop()
    expect(await isUp(second.url)).toBe(true)
  })

  test('that hangs is killed by stop() after five seconds', async ({ redis }) => {
    const { pid = 0, stop } = await redis()
    process.kill(pid, 'SIGSTOP')
    const start = performance.now()
    await stop()
    expect(performance.now() - start).toBeGreaterThan(4500)
    expect(performance.now() - start).toBeLessThan(30_000)
  })

  test('that cannot start says why', async ({ redis, dir }) => {
    await (await redis()).stop()
    const manifest = join(dir, 'redis', 'appendonlydir', 'appendonly.aof.manifest')
    await writeFile(manifest, 'nonsense\n')
    const error = await errorOf(redis())
    expect(error.code).toBe('redis.unavailable')
    expect(error.message).toContain('redis.log')
    expect(error.message).toMatch(/manifest/i)
  })

  test('is refused a port that is taken', async ({ redis }) => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const error = await errorOf(redis({ port }))
    expect(error.code).toBe('port.taken')
    expect(error.message).toContain(String(port))
    server.close()
  })
})

describe.concurrent('a server left running', () => {
  test('by kill -9 of its parent is found, used and stopped', async ({ redis, dir }) => {
    const { child, said, exited } = script(`
      const { url, pid } = await startRedis({ dir: ${JSON.stringify(join(dir, 'redis'))}, fsync: 'everysec' })
      say({ url, pid })
      setInterval(() => {}, 1000)
    `)
    const first = await said
    child.kill('SIGKILL')
    await exited
    const second = await redis()
    expect(second).toMatchObject({ ...Object(first), source: 'running' })
    const reply = await ask(second.url, (client) => client.config('GET', 'appendfsync'))
    expect(JSON.stringify(reply)).toContain('always')
    await second.stop()
    expect(await isUp(second.url)).toBe(false)
  })

  test('is shared by starts at the same time', async ({ redis }) => {
    const services = await Promise.all([redis(), redis(), redis()])
    expect(new Set(services.map(({ pid }) => pid)).size).toBe(1)
    expect(services.filter(({ source }) => source === 'running')).toHaveLength(2)
  })

  test('but hanging is not doubled', async ({ redis }) => {
    const { pid = 0 } = await redis()
    process.kill(pid, 'SIGSTOP')
    const error = await errorOf(redis())
    process.kill(pid, 'SIGCONT')
    expect(error.code).toBe('redis.unavailable')
    expect(error.message).toContain(String(pid))
  })

  test('on another folder is left alone, though it has the recorded port', async ({ redis, dir }) => {
    const other = await redis({ dir: join(dir, 'other') })
    await (await redis()).stop()
    await writeFile(join(dir, 'redis', 'redis.json'), JSON.stringify({ port: Number(new URL(other.url).port) }))
    const own = await redis()
    expect(own.pid).not.toBe(other.pid)
    expect(own.source).not.toBe('running')
  })
})

describe.concurrent('our own end', () => {
  test('by process.exit takes the server along', async ({ dir }) => {
    const { said, exited } = script(`
      const { url } = await startRedis({ dir: ${JSON.stringify(dir)} })
      say(url)
      setTimeout(() => process.exit(0), 50)
    `)
    const url = String(await said)
    await exited
    await vi.waitFor(async () => expect(await isUp(url)).toBe(false), 5000)
  })

  test("by the terminal's Ctrl-C does not reach the server before stop()", async ({ dir }) => {
    const { child, said, exited } = script(`
      const { url, stop } = await startRedis({ dir: ${JSON.stringify(dir)} })
      process.on('SIGINT', () => setTimeout(() => stop(), 500))
      const keep = setInterval(() => {}, 1000)
      process.on('SIGINT', () => clearInterval(keep))
      say(url)
    `)
    const url = String(await said)
    process.kill(-(child.pid ?? 0), 'SIGINT')
    await sleep(200)
    expect(await isUp(url)).toBe(true)
    await exited
    expect(await isUp(url)).toBe(false)
  })
})

describe.concurrent("the user's own server", () => {
  test('is used and never stopped', async ({ redis, dir }) => {
    const { url } = await redis()
    const external = await startRedis({ url, dir: join(dir, 'unused') })
    expect(external).toMatchObject({ url, source: 'external' })
    expect(external.pid).toBeUndefined()
    await external.stop()
    expect(await isUp(url)).toBe(true)
  })

  test('is refused when it may evict', async ({ redis, dir }) => {
    const { url } = await redis()
    await ask(url, (client) => client.config('SET', 'maxmemory-policy', 'allkeys-lru'))
    const error = await errorOf(startRedis({ url, dir }))
    expect(error.code).toBe('redis.unsafe')
    expect(error.message).toContain('allkeys-lru')
  })

  test('may forbid CONFIG and INFO', async ({ redis, dir }) => {
    const { url } = await redis()
    await ask(url, (client) => client.acl('SETUSER', 'guest', 'on', '>pw', '~*', '+@all', '-config', '-info'))
    const guest = url.replace('//', '//guest:pw@')
    expect(await startRedis({ url: guest, dir })).toMatchObject({ source: 'external', url: guest })
  })

  test('that does not answer is named without its credentials', async ({ dir }) => {
    const port = await freePort()
    const error = await errorOf(startRedis({ url: `redis://user:s3cret@127.0.0.1:${port}/2?password=s3cret`, dir }))
    expect(error.code).toBe('redis.unavailable')
    expect(error.message).toContain(`redis://127.0.0.1:${port}/2`)
    expect(error.message).toContain('ECONNREFUSED')
    expectNoSecret(error)
  })

  test('that refuses the password does not make us show it', async ({ redis, dir }) => {
    const { url } = await redis()
    await ask(url, (client) => client.acl('SETUSER', 'default', 'resetpass', '>right'))
    const error = await errorOf(startRedis({ url: url.replace('//', '//default:s3cret@'), dir }))
    expect(error.code).toBe('redis.unavailable')
    expect(error.message).toMatch(/WRONGPASS/)
    expectNoSecret(error)
  })

  test('that is silent is given up after three seconds', async ({ dir }) => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const start = performance.now()
    const error = await errorOf(startRedis({ url: `redis://127.0.0.1:${port}`, dir }))
    server.close()
    expect(error.code).toBe('redis.unavailable')
    expect(performance.now() - start).toBeLessThan(30_000)
  })
})

function expectNoSecret(error: Error): void {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    expect(`${at.message} ${at.stack} ${JSON.stringify(at)} ${JSON.stringify(Object.entries(at))}`).not.toContain(
      's3cret',
    )
  }
}
