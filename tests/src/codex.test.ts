import { spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { createModels } from '@muster/models'
import type { Run } from '@muster/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fix, work } from './fixtures/codex-app.ts'
import { answerUsd, price, type Said, ScriptedModel, tokens } from './fixtures/scripted-model.ts'
import { ended, type Harness, type Ran, runCli, startHarness, until } from './harness.ts'

const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))
const main = fileURLToPath(new URL('../../apps/cli/src/main.ts', import.meta.url))
const bin = fileURLToPath(new URL('../node_modules/.bin', import.meta.url))

/** Nothing of Codex leaves this machine. */
const quiet =
  'check_for_update_on_startup = false\nanalytics.enabled = false\nfeatures.plugins = false\nfeatures.apps = false\n'

const model = new ScriptedModel()
const dir = realpathSync(mkdtempSync(join(tmpdir(), 'muster-codex-')))
/** Some containers let nobody make one. */
const isSandboxed =
  spawnSync(join(bin, 'codex'), ['sandbox', '--', 'true'], { env: { HOME: dir, PATH: process.env.PATH } }).status === 0
const sandbox = isSandboxed ? 'workspace-write' : 'danger-full-access'
const exec = ['exec', '--skip-git-repo-check', '-s', sandbox, 'do it']
let harness: Harness

beforeAll(async () => {
  const baseUrl = await model.listen()
  const target = { model: 'gpt-5.5', baseUrl, apiKey: 'sk-upstream', api: 'responses' as const, price }
  const routes = { default: { ...target, api: 'chat' as const }, 'gpt-5.5': target }
  const policies = [{ file: 'codex.cedar', text: readFileSync(fixture('codex.cedar'), 'utf8') }]
  harness = await startHarness(
    { MUSTER_BUDGETS: JSON.stringify({ 'user:pia': { day: { usd: 0.0001 } } }) },
    {
      // Named as the model is, so that Codex knows what it can do.
      gateway: {
        models: createModels({ routes }),
        policies: () => policies,
        lockMs: 1000,
      },
      keys: ['dora', 'finn', 'pia', 'builder'].map((user) => ({
        id: `${user}-laptop`,
        tenant: 'acme',
        user,
        roles: [],
      })),
    },
  )
  mkdirSync(join(dir, 'workspace'))
  await harness.worker({
    ...{ MUSTER_APP: fixture('codex-app.ts'), MUSTER_POLICY: fixture('codex.cedar') },
    ...(isSandboxed ? {} : { CODEX_SANDBOX: 'none' }),
    ...{ WORKSPACE: join(dir, 'workspace'), CODEX_TOOL_KEY: harness.keys['builder-laptop'] },
  })
})
afterAll(async () => {
  await harness.close()
  model.close()
  rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
})

/** A developer's folder, with a home of Codex in it and their key in the environment. */
function desk(user: string): { at: string; run: (program: string, args: string[]) => Promise<Ran> } {
  const at = mkdtempSync(join(dir, `${user}-`))
  const home = join(at, '.codex')
  mkdirSync(home)
  writeFileSync(join(home, 'config.toml'), quiet)
  const env = {
    ...{ PATH: `${bin}:${process.env.PATH}`, HOME: at, CODEX_HOME: home, NO_COLOR: '1' },
    ...{ MUSTER_URL: harness.url, MUSTER_API_KEY: harness.keys[`${user}-laptop`] },
    ...{ HTTPS_PROXY: 'http://127.0.0.1:9', NO_PROXY: '127.0.0.1' },
  }
  const run = async (program: string, args: string[]) => {
    const child = spawn(program, args, { cwd: at, stdio: ['ignore', 'pipe', 'pipe'], env })
    const [code, out, err] = await Promise.all([
      new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? -1))),
      text(child.stdout),
      text(child.stderr),
    ])
    return { code, out, err }
  }
  return { at, run }
}

/** `muster codex exec`, as a script of the model is played. */
async function codex(
  user: string,
  script: ScriptedModel['script'],
  options = ['--model', 'gpt-5.5'],
): Promise<Ran & { at: string; runs: Run[] }> {
  model.script = script
  const { at, run } = desk(user)
  const ran = await run(process.execPath, [main, 'codex', ...options, ...exec])
  return { ...ran, at, runs: await endedOf(user) }
}

function endedOf(user: string): Promise<Run[]> {
  return until(
    () => runsOf(user),
    (runs) => runs.every(ended),
  )
}

async function runsOf(user: string): Promise<Run[]> {
  const { runs } = await harness.muster.runs.list({ name: 'gateway', limit: 100 })
  const whole = await Promise.all(runs.map(({ id }) => harness.muster.runs.get(id)))
  return whole.filter(({ by }) => by.user === user)
}

const patch = (file: string) => `*** Begin Patch\n*** Add File: ${file}\n+hello\n*** End Patch`
const plays =
  (...turns: Said[]): ScriptedModel['script'] =>
  ({ results }) =>
    turns[results.length] ?? { text: 'out of turns' }

describe('the real Codex, by muster codex', () => {
  it('does a task: each call of the model is a run with its cost, all of them one session', async () => {
    const asked = model.asked.length
    const { code, out, at, runs } = await codex(
      'dora',
      plays(
        { text: 'I write it.', calls: [{ name: 'apply_patch', text: patch('hello.txt') }] },
        { calls: [{ name: 'exec_command', arguments: { cmd: 'cp hello.txt copy.txt; echo "<$MUSTER_API_KEY>"' } }] },
        { text: 'hello.txt is there, and a copy.' },
      ),
    )
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringContaining('hello.txt is there, and a copy.') })
    expect(readFileSync(join(at, 'copy.txt'), 'utf8')).toBe('hello\n')
    // What is run cannot read the key, and the vendor is sent neither that nor the developer's.
    expect(model.asked.at(-1)?.results.at(-1)).toContain('<>')
    expect(JSON.stringify(model.asked.slice(asked))).not.toContain(harness.keys['dora-laptop'])
    expect(runs).toHaveLength(3)
    expect(new Set(runs.map(({ session }) => session))).toEqual(
      new Set([expect.stringMatching(/^dora\/[0-9a-f-]{36}$/)]),
    )
    for (const run of runs) {
      expect(run).toMatchObject({ status: 'succeeded', by: { key: 'dora-laptop' } })
      expect(run.costUsd).toBeCloseTo(answerUsd, 12)
    }
    const cli = { MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
    const { out: trace } = await runCli(['trace', '--session', runs[0]?.session ?? '', '--json'], cli)
    const { runs: traced, ...sum } = JSON.parse(trace)
    expect(sum).toEqual({ session: runs[0]?.session, costUsd: expect.closeTo(3 * answerUsd, 12), ok: true })
    expect(traced.map(({ run, spans }: { run: Run; spans: { target: string }[] }) => [run.id, spans.length])).toEqual(
      [...runs].reverse().map(({ id, steps }) => [id, steps]),
    )
    expect(trace).toContain('"1.apply_patch"')
  })

  it('does not get a command that policy denies, and the developer reads which and whom to ask', async () => {
    const asked = model.asked.length
    const { code, out, at, runs } = await codex(
      'dora',
      plays({ calls: [{ name: 'exec_command', arguments: { cmd: 'touch pushed.txt; git push origin main' } }] }),
    )
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringContaining('"no-push"') })
    expect(out).toContain('Pushing goes by way of a review')
    expect(out).toContain('platform@acme.example')
    expect(existsSync(join(at, 'pushed.txt'))).toBe(false)
    expect(model.asked).toHaveLength(asked + 1)
    expect(out).toContain(runs[0]?.id)
  })

  it('works with a model that speaks otherwise, offered functions alone', async () => {
    const turns = plays(
      { text: 'I write it.', calls: [{ name: 'exec_command', arguments: { cmd: 'echo hello > hello.txt' } }] },
      { text: 'hello.txt is there.' },
    )
    const { code, out, at } = await codex('finn', turns, ['--functions-only'])
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringContaining('hello.txt is there.') })
    expect(readFileSync(join(at, 'hello.txt'), 'utf8')).toBe('hello\n')
    expect(model.asked.at(-1)?.path).toBe('/v1/chat/completions')
  })

  it('once set up, stops at once over budget, and says so', async () => {
    const asked = model.asked.length
    const { run } = desk('pia')
    expect(await run(process.execPath, [main, 'codex', '--model', 'gpt-5.5'])).toMatchObject({ code: 0 })
    const { code, err } = await run('codex', ['--strict-config', ...exec])
    expect({ code, err }).toMatchObject({ code: 1, err: expect.stringMatching(/ERROR: .*budget.*user:pia/i) })
    expect(err).not.toContain('Reconnecting')
    expect(model.asked).toHaveLength(asked)
    expect(await endedOf('pia')).toHaveLength(1)
  })
})

describe('the tool codex.work', () => {
  it('does a task as a step of a plan, told by what changed', async () => {
    // In a sandbox without network it can be done again.
    expect(work.effect).toBe('write')
    mkdirSync(join(dir, 'workspace', 'one'))
    writeFileSync(join(dir, 'workspace', 'one', 'old.txt'), 'x')
    model.script = plays(
      { calls: [{ name: 'apply_patch', text: patch('hello.txt') }] },
      { calls: [{ name: 'exec_command', arguments: { cmd: 'rm old.txt' } }] },
      { text: 'Done.' },
    )
    const run = await harness.muster.runs.start(fix, { task: 'tidy up', folder: 'one' })
    const output = await run.result()
    expect(output).toMatchObject({
      answer: 'Done.',
      changed: [
        { path: 'hello.txt', kind: 'added' },
        { path: 'old.txt', kind: 'deleted' },
      ],
      commands: [{ command: expect.stringContaining('rm old.txt'), exitCode: 0 }],
    })
    const { thread } = output
    const runs = await until(
      () => runsOf('builder'),
      (runs) => runs.length === 3 && runs.every(ended),
    )
    expect(runs.map(({ session }) => session)).toEqual(runs.map(() => `builder/${thread}`))
    // What they have cost is in the run's own limits.
    const { costUsd: paid, usage } = await run.get()
    expect(paid).toBeCloseTo(3 * answerUsd, 12)
    expect(usage.outputTokens).toBe(3 * tokens.output)
  })

  it('fails where policy has denied what it was to do, and counts what that has cost', async () => {
    mkdirSync(join(dir, 'workspace', 'three'))
    model.script = plays(
      { calls: [{ name: 'exec_command', arguments: { cmd: 'echo half > half.txt' } }] },
      { calls: [{ name: 'exec_command', arguments: { cmd: 'git push' } }] },
    )
    const run = await harness.muster.runs.start(fix, { task: 'push it', folder: 'three' })
    await expect(run.result()).rejects.toMatchObject({
      code: 'codex.failed',
      message: expect.stringMatching(/"no-push" denies exec_command.*platform@acme/),
    })
    expect((await run.get()).costUsd).toBeCloseTo(2 * answerUsd, 12)
  })

  it('ends with its run, and what it has started with it', async () => {
    const at = join(dir, 'workspace', 'two')
    mkdirSync(at)
    // Codex itself would go on without it after ten seconds.
    const slow = { cmd: 'touch begun; exec sleep 600', yield_time_ms: 30_000 }
    model.script = plays({ calls: [{ name: 'exec_command', arguments: slow }] })
    const run = await harness.muster.runs.start(fix, { task: 'sleep', folder: 'two' })
    await until(() => existsSync(join(at, 'begun')), Boolean)
    await run.cancel()
    const count = await until(
      () => processesIn(at),
      (count) => count === 0,
    )
    expect(count).toBe(0)
    expect(await until(() => run.get(), ended)).toMatchObject({ status: 'cancelled' })
  })
})

/** As far as the kernel tells: where there is no /proc, none. */
function processesIn(folder: string): number {
  return (existsSync('/proc/self/cwd') ? readdirSync('/proc') : []).filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`) === folder
    } catch {
      // It has ended, or is somebody else's.
      return false
    }
  }).length
}
