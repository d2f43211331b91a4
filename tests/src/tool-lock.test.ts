import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'muster-tools-'))
const policy = join(dir, 'own.cedar')
const lock = join(dir, 'muster.tools.json')
writeFileSync(policy, '@id("own") forbid (principal, action, resource == Tool::"stock.sync");')
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** Runs `muster tools …` on the app of the attack cases, with the default set and a file of our own. */
function tools(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = {
    ...process.env,
    MUSTER_APP: file('./attacks/app.ts'),
    MUSTER_POLICY: `default,${policy}`,
    NO_COLOR: '1',
  }
  return promisify(execFile)(process.execPath, [file('../../apps/cli/src/main.ts'), 'tools', ...args], { env }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  )
}

describe('muster tools', () => {
  it('writes the lock file next to the policies, and finds what differs from it', async () => {
    const before = await tools('check', '--json')
    expect(before.code).toBe(1)
    expect(JSON.parse(before.stdout)).toMatchObject({ file: lock, changed: [], removed: [] })
    expect(JSON.parse(before.stdout).added).toContain('ledger.pay')
    expect(existsSync(lock)).toBe(false)

    expect(await tools('approve')).toMatchObject({ code: 0, stdout: expect.stringContaining(lock) })
    expect(await tools('check')).toMatchObject({ code: 0, stdout: expect.stringContaining('all as approved') })

    const stored = JSON.parse(readFileSync(lock, 'utf8'))
    stored.tools['ledger.pay'] = 'another'
    stored.tools['gone.tool'] = stored.tools['stock.sync']
    delete stored.tools['stock.sync']
    writeFileSync(lock, JSON.stringify(stored))
    const after = await tools('check')
    expect(after.code).toBe(1)
    expect(after.stdout.trim().split(/\s+/)).toEqual([
      'changed',
      'ledger.pay',
      'added',
      'stock.sync',
      'removed',
      'gone.tool',
    ])
  })

  it('says so when the lock file is none', async () => {
    writeFileSync(lock, '{}')
    const { code, stderr } = await tools('check')
    expect(code).not.toBe(0)
    expect(stderr).toContain('muster tools approve')
  })
})
