import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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

test('where there is but a gateway, none is an app without agents', async () => {
  expect((await loadApp('none')).manifest).toMatchObject({ definitions: [], tools: [] })
})
