import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { loadApp } from './load-app.ts'

const folder = mkdtempSync(join(tmpdir(), 'muster-app-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('an app may lie at the root of a checkout, or in any folder of it', () => {
  const root = join(import.meta.dirname, '../../..')
  const app = createRequire(join(root, 'my-agents/agents.ts'))
  for (const name of ['@muster/sdk', '@muster/codex', '@muster/bedrock-agents', 'zod'])
    expect(app.resolve(name)).toContain(root)
})

test('an app that cannot be loaded says what to do', async () => {
  await expect(loadApp(undefined)).rejects.toThrow('"none"')
  await expect(loadApp(join(folder, 'absent.ts'))).rejects.toThrow(`there is no file ${join(folder, 'absent.ts')}`)
  const outside = join(folder, 'agents.mjs')
  writeFileSync(outside, "export * from '@muster/outside'\n")
  await expect(loadApp(outside)).rejects.toThrow("below Muster's own folder, or into a package that depends on it")
})

test.each([
  ['cannot be read', 'const a = 1\nexport const b = (a: number => 1', 2],
  ['has what Node does not run', 'const a = 1\n\nexport enum B { C }', 3],
  ['throws', "const text = '{'\n\n\nexport const b = JSON.parse(text)", 4],
  ['asks a module for what it has not', "import { b } from './whole.ts'\nexport const c = b", 1],
])('where an app imports a module that %s, its file and line are told', async (_, text, line) => {
  const part = join(folder, 'part.ts')
  writeFileSync(join(folder, 'whole.ts'), 'export const a = 1\n')
  writeFileSync(part, text)
  const app = join(folder, 'app.ts')
  writeFileSync(app, "import './part.ts'\n")
  // In Node itself: the tests' runner reads modules its own way.
  const load = `import(${JSON.stringify(import.meta.resolve('./load-app.ts'))}).then(({ loadApp }) => loadApp(process.argv[1]))
    .catch(({ code, message }) => console.log(JSON.stringify({ code, message })))`
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', load, app])
  const { code, message } = JSON.parse(stdout)
  expect(code).toBe('definition.invalid')
  expect(message).toContain(`app.ts cannot be loaded: ${part}:${line}: `)
})

test('where there is but a gateway, none is an app without agents', async () => {
  expect((await loadApp('none')).manifest).toMatchObject({ definitions: [], tools: [] })
})
