import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import type { Row } from './row.ts'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'muster-bench-test-'))
afterAll(() => rmSync(dir, { recursive: true }))

const bench = (...args: string[]) => promisify(execFile)(process.execPath, [main, ...args], { cwd: dir })

describe('the benchmark', () => {
  it('measures for real and writes rows that are consistent', { timeout: 180_000 }, async () => {
    const { stdout } = await bench('--only', 'A1,A3', '--quick', '--size', '0.05', '--json', 'rows.json')
    const all: Row[] = JSON.parse(readFileSync(join(dir, 'rows.json'), 'utf8'))
    const rows = all.filter(({ workload }) => workload === 'A1')
    expect(rows.map(({ workload, variant, reference }) => [workload, variant, reference])).toEqual([
      ['A1', 'the log alone, in memory', 'SHA-256 of the leaves'],
      ['A1', 'sealer, in files', 'the log alone, in memory'],
      ['A1', 'sealer, local DynamoDB', 'the log alone, in memory'],
      ['A1', 'a receipt of 3,000 leaves', null],
      ['A1', 'make a receipt of 3,000 leaves', null],
      ['A1', 'check a receipt of 3,000 leaves', null],
      ['A1', 'verify.mjs on an export', 'SHA-256 of its files and lines'],
      ['A1', 'verify.mjs on an export', 'SHA-256 of 300 bytes'],
    ])
    const pages = all.slice(rows.length)
    expect(pages.map(({ variant }) => variant)).toContain('a tool, denied, p95, 100 runs')
    expect(pages.every(({ workload, reference }) => workload === 'A3' && reference?.startsWith('a bare Query'))).toBe(
      true,
    )
    for (const { variant, value, referenceValue, ratio, spread, cost } of all) {
      expect(value).toBeGreaterThan(0)
      if (referenceValue !== null) expect(ratio).toBeCloseTo(value / referenceValue, 10)
      expect(spread).toBeGreaterThanOrEqual(0)
      expect(cost?.workerUs).toBeGreaterThan(0)
      expect(stdout).toContain(variant)
    }
  })

  it('says what is wrong with its arguments', async () => {
    for (const [args, message] of [
      [['--only', 'W9'], 'no workload "W9"'],
      [['--size', 'big'], '"big" is not a number'],
      [['--fast'], "Unknown option '--fast'"],
      [['--only', 'W2', '--prof', 'x'], 'profiles W1'],
    ] as const) {
      await expect(bench(...args)).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining(message) })
    }
  })
})
