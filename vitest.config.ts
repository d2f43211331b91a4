import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// Tests start hundreds of processes from the same sources: what one has compiled the next need not.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url))

export default defineConfig({
  test: {
    // Types are tested too: what must not compile is written down with @ts-expect-error.
    typecheck: { enabled: false },
    // For a machine that is busy with something else; no test takes a quarter of it on a calm one.
    testTimeout: 90_000,
    hookTimeout: 90_000,
    expect: { poll: { timeout: 30_000 } },
    pool: 'forks',
    projects: [
      {
        extends: true,
        test: {
          name: 'parts',
          include: [
            'packages/*/src/**/*.test.ts',
            'apps/*/src/**/*.test.ts',
            'tests/src/**/*.test.ts',
            'tests/bench/src/**/*.test.ts',
          ],
          // Every test owns its data and its servers listen on free ports, so files run side by side. Most of them
          // wait for processes and servers more than they compute.
          maxWorkers: availableParallelism() + 1,
        },
      },
      {
        extends: true,
        test: {
          name: 'faults',
          include: ['tests/faults/src/**/*.test.ts'],
          testTimeout: 400_000,
          // A campaign is a dozen processes under load: one at a time, when all else is done.
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
