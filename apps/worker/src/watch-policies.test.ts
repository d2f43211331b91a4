import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PolicySet } from '@muster/governance'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { policyFolders, readPolicies } from './read-policies.ts'
import { watchPolicies } from './watch-policies.ts'

const app = { hash: 'app', definitions: [], tools: [] }
const permit = (id: string) => `@id("${id}") permit (principal, action, resource);`

let dir: string
let watched: { close(): void }
/** What the worker would decide by, and what it would log, as they come. */
let used: string[][]
let logged: string[]
let told = () => {}
let failures = 0

function start(paths: string): void {
  const log = pino(
    {},
    {
      write(line) {
        logged.push(line)
        told()
      },
    },
  )
  const use = async ({ policies }: PolicySet) => {
    if (failures-- > 0) throw new Error('not now')
    used.push([...policies.keys()])
    told()
  }
  watched = watchPolicies({ paths, app, sources: readPolicies(paths), use, log })
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds())
    await new Promise<void>((resolve) => {
      told = resolve
    })
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'muster-watch-'))
  used = []
  logged = []
  failures = 0
})
afterEach(() => {
  watched.close()
  rmSync(dir, { recursive: true, force: true })
})

it('reads a file that was moved into place, and one that came', async () => {
  writeFileSync(join(dir, 'a.cedar'), permit('a'))
  start(dir)
  writeFileSync(join(dir, 'a.new'), permit('a2'))
  renameSync(join(dir, 'a.new'), join(dir, 'a.cedar'))
  await until(() => used.at(-1)?.join() === 'a2')
  writeFileSync(join(dir, 'b.cedar'), permit('b'))
  await until(() => used.at(-1)?.join() === 'a2,b')
})

it('reads what a link leads to when the link was moved, as volumes of Kubernetes do it', async () => {
  for (const version of ['1', '2']) {
    mkdirSync(join(dir, version))
    writeFileSync(join(dir, version, 'own.cedar'), permit(`v${version}`))
  }
  symlinkSync('1', join(dir, '..data'))
  symlinkSync('..data/own.cedar', join(dir, 'own.cedar'))
  start(join(dir, 'own.cedar'))
  symlinkSync('2', join(dir, '..next'))
  renameSync(join(dir, '..next'), join(dir, '..data'))
  await until(() => used.at(-1)?.join() === 'v2')
  // From now on in the folder that the link leads to.
  writeFileSync(join(dir, '2', 'own.cedar'), permit('v3'))
  await until(() => used.at(-1)?.join() === 'v3')
})

it('keeps what it had where a file is wrong or gone, and says so', async () => {
  const file = join(dir, 'own.cedar')
  writeFileSync(file, permit('a'))
  start(file)
  writeFileSync(file, `${permit('a')}\nforbid`)
  await until(() => logged.some((line) => line.includes('own.cedar:2:')))
  rmSync(file)
  await until(() => logged.some((line) => line.includes('cannot be read')))
  expect(used).toEqual([])
  writeFileSync(file, permit('b'))
  await until(() => used.at(-1)?.join() === 'b')
})

it('reads a folder that another took the place of', async () => {
  const folder = join(dir, 'own')
  for (const name of ['own', 'next']) {
    mkdirSync(join(dir, name))
    writeFileSync(join(dir, name, 'own.cedar'), permit(name))
  }
  start(folder)
  rmSync(folder, { recursive: true })
  await until(() => logged.some((line) => line.includes('cannot be read')))
  renameSync(join(dir, 'next'), folder)
  await until(() => used.at(-1)?.join() === 'next')
})

it('reads the folder that a link leads to by now', async () => {
  for (const version of ['1', '2']) {
    mkdirSync(join(dir, version))
    writeFileSync(join(dir, version, 'own.cedar'), permit(`v${version}`))
  }
  symlinkSync('1', join(dir, 'current'))
  start(join(dir, 'current'))
  symlinkSync('2', join(dir, 'next'))
  renameSync(join(dir, 'next'), join(dir, 'current'))
  await until(() => used.at(-1)?.join() === 'v2')
})

it('tries again what could not be taken up', async () => {
  writeFileSync(join(dir, 'a.cedar'), permit('a'))
  start(dir)
  failures = 1
  writeFileSync(join(dir, 'a.cedar'), permit('a2'))
  await until(() => logged.some((line) => line.includes('tried again')))
  await until(() => used.at(-1)?.join() === 'a2')
})

it('does not watch the set that comes with Muster', () => {
  start('')
  expect(policyFolders(`default, log-only:${dir}`)).toEqual([dir])
})
