import { chmod, mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { MusterError } from '@muster/protocol'
import { expect, vi } from 'vitest'
import { runCommand } from './command.ts'
import { test } from './fixture.ts'
import { findProgram } from './program.ts'
import { findRedisProgram, installCommand } from './redis-program.ts'

vi.setConfig({ testTimeout: 120_000 })

const path = process.env.PATH ?? ''
const aptGet = await findProgram(['apt-get'], path)
const dpkg = await findProgram(['dpkg'], path)

async function fake(folder: string, name: string, code = 'exit 0'): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, name), `#!/bin/sh\n${code}\n`)
  await chmod(join(folder, name), 0o755)
}

test('a server on PATH comes first, Redis before Valkey', async ({ dir }) => {
  await fake(join(dir, 'a'), 'valkey-server')
  const valkey = await findRedisProgram({ path: join(dir, 'a') })
  expect(valkey).toEqual({ source: 'path', command: join(dir, 'a', 'valkey-server'), env: {} })
  await fake(join(dir, 'b'), 'redis-server')
  const redis = await findRedisProgram({ path: [join(dir, 'a'), join(dir, 'b')].join(delimiter) })
  expect(redis).toMatchObject({ source: 'path', command: join(dir, 'b', 'redis-server') })
})

test('what is no program is not taken for one', async ({ dir }) => {
  await mkdir(join(dir, 'redis-server'))
  await writeFile(join(dir, 'valkey-server'), '')
  await expect(findRedisProgram({ path: dir })).rejects.toThrow(MusterError)
})

test.skipIf(!aptGet || !dpkg)('packages are unpacked whole by first starts at once', async ({ dir }) => {
  await mkdir(join(dir, 'bin'))
  await symlink(aptGet ?? '', join(dir, 'bin', 'apt-get'))
  await symlink(dpkg ?? '', join(dir, 'bin', 'dpkg'))
  const options = { path: join(dir, 'bin'), cacheDir: join(dir, 'cache') }
  const [first, second] = await Promise.all([findRedisProgram(options), findRedisProgram(options)])
  expect(first).toEqual(second)
  expect(await readdir(options.cacheDir)).toHaveLength(1)
  if (first.source !== 'package') throw new Error(`Found by ${first.source}`)
  expect(await runCommand(first.command, ['--version'], { env: first.env, timeoutMs: 5000 })).toMatch(/v=\d/)
  // Nothing is fetched the second time.
  await fake(join(dir, 'no'), 'apt-get', 'exit 1')
  await fake(join(dir, 'no'), 'dpkg', 'exit 1')
  expect(await findRedisProgram({ ...options, path: join(dir, 'no') })).toEqual(first)
})

test.skipIf(!aptGet || !dpkg)('package lists that are missing are read into the cache', async ({ dir }) => {
  // An apt-get that has no lists of its own, as in a fresh container.
  const none = join(dir, 'none')
  await mkdir(join(none, 'partial'), { recursive: true })
  const code = `case "$*" in *State::Lists*) exec '${aptGet}' "$@";; *) exec '${aptGet}' -o 'Dir::State::Lists=${none}' "$@";; esac`
  await fake(join(dir, 'bin'), 'apt-get', code)
  await symlink(dpkg ?? '', join(dir, 'bin', 'dpkg'))
  const found = await findRedisProgram({ path: join(dir, 'bin'), cacheDir: join(dir, 'cache') })
  expect(found.source).toBe('package')
})

test('Docker is used when it works, and only then', async ({ dir }) => {
  await fake(join(dir, 'works'), 'docker')
  expect(await findRedisProgram({ path: join(dir, 'works') })).toEqual({
    source: 'docker',
    docker: join(dir, 'works', 'docker'),
  })
  await fake(join(dir, 'broken'), 'docker', 'exit 1')
  await expect(findRedisProgram({ path: join(dir, 'broken') })).rejects.toThrow(MusterError)
})

test('packages that cannot be fetched are named in the error, and leave nothing behind', async ({ dir }) => {
  await fake(join(dir, 'bin'), 'apt-get', 'echo "E: no network" >&2; exit 100')
  await fake(join(dir, 'bin'), 'dpkg')
  const failed = findRedisProgram({ path: join(dir, 'bin'), cacheDir: join(dir, 'cache') })
  await expect(failed).rejects.toMatchObject({ code: 'stack.missing', message: expect.stringContaining('no network') })
  expect(await readdir(join(dir, 'cache'))).toEqual([])
})

test('the error gives the one command of the system', async ({ dir }) => {
  await expect(findRedisProgram({ path: dir })).rejects.toMatchObject({ code: 'stack.missing' })
  expect(installCommand('darwin', '')).toBe('brew install redis')
  expect(installCommand('linux', 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n')).toBe(
    'sudo apt-get install -y redis-server',
  )
  expect(installCommand('linux', 'ID=fedora\n')).toBe('sudo dnf install -y valkey')
  expect(installCommand('linux', 'ID=alpine\n')).toBe('sudo apk add valkey')
  expect(installCommand('linux', 'ID=manjaro\nID_LIKE=arch\n')).toBe('sudo pacman -S --noconfirm valkey')
  expect(installCommand('linux', '')).toBe('sudo dnf install -y valkey')
})
