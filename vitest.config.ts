import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: [
      'packages/*/src/**/*.test.ts',
      'apps/*/src/**/*.test.ts',
      'tests/src/**/*.test.ts',
      'tests/bench/src/**/*.test.ts',
      'tests/faults/src/**/*.test.ts',
    ],
    // Types are tested too: what must not compile is written down with @ts-expect-error.
    typecheck: { enabled: false },
    // For a machine that is busy with something else; no test takes a quarter of it on a calm one.
    testTimeout: 90_000,
    hookTimeout: 90_000,
    // Every test owns its data and its servers listen on free ports, so files run side by side.
    pool: 'forks',
    // Most of them wait for processes and servers more than they compute.
    maxWorkers: availableParallelism() + 1,
  },
})
