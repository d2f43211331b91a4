import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test as base, vi } from 'vitest'
import { type DemoHome, demoHome } from './demo-home.ts'

/** A test with a Muster home of its own. */
export const test = base.extend<{ home: DemoHome }>({
  // vitest reads the names of the fixtures that are needed from this pattern.
  // biome-ignore lint/correctness/noEmptyPattern: see above
  home: async ({}, use) => {
    const folder = await mkdtemp(join(tmpdir(), 'muster-demo-'))
    vi.stubEnv('MUSTER_HOME', folder)
    await use(demoHome())
    vi.unstubAllEnvs()
    await rm(folder, { recursive: true, force: true })
  },
})
