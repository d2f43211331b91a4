import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, vi } from 'vitest'
import { test } from './fixture.ts'
import { findRedisProgram } from './redis-program.ts'

vi.setConfig({ testTimeout: 120_000 })

/** A `docker` that notes its calls and runs the "container" as a process of this machine. */
async function fakeDocker(folder: string): Promise<string> {
  const real = await findRedisProgram()
  if (real.source === 'docker') throw new Error('This test needs a redis-server, or apt-get')
  const env = Object.entries(real.env).map(([name, value]) => `${name}='${value}'`)
  const code = `#!/bin/sh
PATH=/usr/bin:/bin
cd '${folder}'
echo "$@" >> calls
case "$1" in
  run)
    while [ "$1" != valkey-server ]; do shift; done
    shift
    env ${env.join(' ')} '${real.command}' "$@" --bind 127.0.0.1 > /dev/null 2>&1 &
    echo $! > pid ;;
  inspect) if kill -0 "$(cat pid)" 2> /dev/null; then echo true; else exit 1; fi ;;
  kill) kill -s "$(echo "$3" | sed s/SIG//)" "$(cat pid)" ;;
esac
`
  await mkdir(folder)
  await writeFile(join(folder, 'docker'), code)
  await chmod(join(folder, 'docker'), 0o755)
  return folder
}

test('a container is started on the data folder, found again and stopped', async ({ dir, redis }) => {
  const folder = await fakeDocker(join(dir, 'bin'))
  vi.stubEnv('PATH', folder)
  onTestFinished(() => void vi.unstubAllEnvs())

  const first = await redis()
  expect(first.source).toBe('docker')
  expect(first.pid).toBeUndefined()
  const { port } = new URL(first.url)
  const data = join(dir, 'redis')
  const calls = await readFile(join(folder, 'calls'), 'utf8')
  expect(calls).toContain(`--volume ${data}:${data} --publish 127.0.0.1:${port}:${port} valkey/valkey:`)

  const second = await redis()
  expect(second).toMatchObject({ source: 'running', url: first.url })
  await second.stop()
  const third = await redis()
  expect(third.source).toBe('docker')
})
