import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { readLedger } from '@muster/demo'
import { freePort } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runNode, stopProcess, until } from './harness.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const cli = join(root, 'apps/cli/src/main.ts')
const documents = join(root, 'apps/demo/documents/invoices')

const home = mkdtempSync(join(tmpdir(), 'muster-dev-'))
let port: number
let dev: ChildProcess
let output = ''

/** The environment of a machine without keys, servers or settings of its own. */
function environment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(MUSTER_|REDIS_|DYNAMODB_|OPENAI_|AWS_|OTEL_)/.test(name),
  )
  return { ...Object.fromEntries(kept), MUSTER_HOME: home, MUSTER_PORT: String(port), NO_COLOR: '1' }
}

function startDev(): void {
  output = ''
  // A group of processes of its own, as a terminal gives it.
  dev = spawn(process.execPath, [cli, 'dev'], { env: environment(), cwd: root, detached: true })
  for (const stream of [dev.stdout, dev.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk.toString()))
}

const up = () =>
  until(
    () => output,
    (text) => text.includes('Ctrl-C') || dev.exitCode !== null,
    90_000,
  )

async function child(command: string): Promise<number> {
  const { stdout } = await promisify(execFile)('pgrep', ['-P', String(dev.pid), '-f', `main.ts ${command}`])
  return Number(stdout.trim())
}

/** All processes of the group are told, as a terminal, a service manager or a container does it. */
async function endGroup(signal: NodeJS.Signals): Promise<void> {
  const exited = once(dev, 'exit')
  process.kill(-(dev.pid ?? 0), signal)
  await exited
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function muster(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [cli, ...args], { env: environment(), cwd: root }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  )
}

beforeAll(async () => {
  port = await freePort()
  startDev()
  await up()
}, 120_000)
afterAll(async () => {
  await stopProcess(dev, 'SIGINT')
  rmSync(home, { recursive: true, force: true })
})

describe('muster dev', () => {
  it('runs the month-end and says what was paid, blocked, set aside and needs approval, at what cost, and that it verifies', () => {
    expect(output).toContain('no model key: scripted model')
    expect(output).toMatch(/\d+ paid, 2 to approve, \d+ blocked, 5 set aside/)
    expect(output).toMatch(/cost \$0\.\d+/)
    expect(output).toMatch(/verify: ok \(\d+ journals\)/)
    // The injection was stopped by policy, not by luck.
    expect(output).toContain('untrusted-to-payment')
    expect(output).toContain(`http://127.0.0.1:${port}`)
  })

  it('writes a key that only its owner can read, and no key anywhere else', () => {
    expect(statSync(join(home, 'dev-key')).mode & 0o777).toBe(0o600)
    const key = readFileSync(join(home, 'dev-key'), 'utf8').trim()
    for (const file of [
      join(home, 'keys.json'),
      ...readdirSync(join(home, 'logs')).map((name) => join(home, 'logs', name)),
    ]) {
      expect(readFileSync(file, 'utf8')).not.toContain(key)
    }
  })

  it('sets aside what is no invoice, never losing it', () => {
    const aside = readdirSync(join(home, 'demo/set-aside'))
    expect(aside).toContain('lunch-menu-week-47.txt')
    for (const file of aside.filter((name) => !name.endsWith('.reason.txt'))) {
      expect(readFileSync(join(home, 'demo/set-aside', file))).toEqual(readFileSync(join(documents, file)))
    }
    const inbox = readdirSync(join(home, 'demo/inbox'))
    for (const file of readdirSync(documents)) expect(inbox.includes(file) || aside.includes(file)).toBe(true)
  })

  it('pays nothing twice and nothing that it reports as blocked', async () => {
    const { payments, voided } = await readLedger(join(home, 'demo/ledger.jsonl'))
    expect(payments.length).toBe(Number(/(\d+) paid/.exec(output)?.[1]))
    const keys = payments.map(({ key }) => key)
    expect(new Set(keys).size).toBe(keys.length)
    // Two runs may race to pay two copies of one invoice: the ledger keeps the first, and no key is ever used twice.
    expect(voided.filter(({ key }) => keys.includes(key))).toEqual([])
    expect(voided.length).toBeLessThanOrEqual(2)
  })

  it('survives a kill -9 of its worker: another takes over', async () => {
    process.kill(await child('worker'), 'SIGKILL')
    await until(
      () => output,
      (text) => text.includes('is started again'),
    )
    const run = await muster('run', 'payables.clerk', '--input', join(documents, 'oxbarrow-1409.json'), '--json')
    expect(JSON.parse(run.stdout)).toMatchObject({ status: 'succeeded', output: { status: 'blocked' } })
  })

  it('survives a kill -9 of its Redis, which is started again on its data', async () => {
    const before = JSON.parse((await muster('runs', '--json')).stdout)
    const { pid } = JSON.parse(readFileSync(join(home, 'redis/redis.json'), 'utf8'))
    process.kill(pid, 'SIGKILL')
    await until(
      () => output,
      (text) => text.includes('Redis ended and is started again'),
    )
    const run = await muster('run', 'payables.clerk', '--input', join(documents, 'oxbarrow-1409.json'), '--json')
    expect(JSON.parse(run.stdout)).toMatchObject({ status: 'succeeded', output: { status: 'blocked' } })
    expect(JSON.parse((await muster('runs', '--json')).stdout).runs.slice(1)).toEqual(before.runs.slice(0, -1))
  })

  it('is not disturbed by a second one on its folder, which says what to do', async () => {
    const redis = () => JSON.parse(readFileSync(join(home, 'redis/redis.json'), 'utf8')).pid
    const before = redis()
    const env = { ...environment(), MUSTER_PORT: String(await freePort()) }
    const second = await promisify(execFile)(process.execPath, [cli, 'dev'], { env, cwd: root }).catch((error) => error)
    expect(second.code).toBe(1)
    expect(second.stderr).toContain('give this one a folder of its own (MUSTER_HOME)')
    expect(isRunning(before)).toBe(true)
    expect(redis()).toBe(before)
  })

  it('says which port is taken instead of starting half', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await until(() => other.listening, Boolean)
    const address = other.address()
    const taken = typeof address === 'object' && address ? address.port : 0
    const elsewhere = mkdtempSync(join(tmpdir(), 'muster-dev-'))
    const result = await promisify(execFile)(process.execPath, [cli, 'dev'], {
      env: { ...environment(), MUSTER_HOME: elsewhere, MUSTER_PORT: String(taken) },
    }).catch((error) => error)
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining(`Port ${taken}`) })
    expect(result.stderr).toContain('MUSTER_PORT')
    expect(existsSync(join(elsewhere, 'redis'))).toBe(false)
    other.close()
    rmSync(elsewhere, { recursive: true })
  })
})

describe('an auditor', () => {
  it('finds the blocked payment in a folder that proves itself, with nothing but that folder and a key', async () => {
    const blocked = ['audit', 'search', '--policy', 'untrusted-to-payment', '--decision', 'deny', '--json']
    const { hits } = await until(
      async () => JSON.parse((await muster(...blocked)).stdout),
      (page) => page.hits.length > 0,
    )
    const [{ run, step }] = hits
    const receipt = () => muster('receipt', run)
    await until(receipt, ({ code }) => code === 0)
    const exported = JSON.parse((await muster('audit', 'export', '--to', join(home, 'export'), '--json')).stdout)
    const vkeys = await promisify(execFile)(process.execPath, [cli, 'ledger', 'vkeys', 'dev'], {
      env: { ...environment(), MUSTER_LEDGER_KEY_FILE: join(home, 'ledger.pem') },
    })
    const handed = mkdtempSync(join(tmpdir(), 'muster-auditor-'))
    cpSync(join(home, 'export'), handed, { recursive: true })

    const trusted = [
      join(handed, 'verify.mjs'),
      handed,
      '--key',
      vkeys.stdout.trim(),
      '--fingerprint',
      exported.fingerprint,
    ]
    const checked = await runNode(trusted, {}, tmpdir())
    expect(checked).toMatchObject({ code: 0, err: '' })
    expect(checked.out).toContain('RESULT: NOTHING IS WRONG')
    const journal = readFileSync(join(handed, `runs/${run}.jsonl`), 'utf8')
    const entries = journal
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(JSON.parse(line).bytes))
    expect(entries.find((entry) => entry.step === step && entry.decision?.effect === 'deny')).toMatchObject({
      target: 'ledger.pay',
      decision: { policies: ['untrusted-to-payment'], set: expect.stringMatching(/^[0-9a-f]{64}$/) },
    })
    expect(entries.some(({ type, target }) => type === 'step.intent' && target === 'ledger.pay')).toBe(false)

    // And who makes the denial an approval is found out.
    writeFileSync(join(handed, `runs/${run}.jsonl`), journal.replaceAll('deny', 'allow'))
    const forged = await runNode([...trusted, '--json'], {}, tmpdir())
    expect(forged.code).toBe(1)
    expect(JSON.parse(forged.out).findings).toContainEqual(expect.objectContaining({ code: 'entry-changed', run }))
    rmSync(handed, { recursive: true })

    const { code, stdout } = await muster('audit', 'report', run, '--to', '-')
    expect(code).toBe(0)
    expect(stdout).toContain('untrusted-to-payment')
  })
})

describe('the CLI', () => {
  it("processes the user's own document, given as a file", async () => {
    const mine = join(home, 'mine.txt')
    writeFileSync(mine, readFileSync(join(documents, 'lunch-menu-week-47.txt'), 'utf8'))
    const { code, stdout, stderr } = await muster('run', 'payables.clerk', '--input', mine)
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ status: 'set-aside', reason: expect.stringContaining('no invoice') })
    expect(stderr).toContain('1.invoice.read')
    expect(existsSync(mine)).toBe(true)
  })

  it('lists runs, shows a trace, verifies it, prints the configuration: for people and as JSON', async () => {
    const { runs } = JSON.parse((await muster('runs', '--json', '--name', 'payables.month-end')).stdout)
    expect(runs).toHaveLength(1)
    const [{ id }] = runs
    expect((await muster('runs')).stdout).toContain('payables.clerk@1.0.0')
    const trace = await muster('trace', id)
    expect(trace).toMatchObject({ code: 0, stdout: expect.stringMatching(/verify: ok \(\d+ entries\)/) })
    expect(trace.stdout).toContain('map[0].payables.clerk')
    expect(JSON.parse((await muster('trace', id, '--json')).stdout)).toMatchObject({
      run: { id },
      verification: { ok: true },
    })
    expect((await muster('verify', id)).stdout).toContain('chain unbroken')
    expect(JSON.parse((await muster('config', '--json')).stdout)).toContainEqual(
      expect.objectContaining({ name: 'MUSTER_PORT', value: String(port), set: true }),
    )
  })

  it('approves a payment that waits, which is then made once', async () => {
    const { runs } = JSON.parse((await muster('runs', '--json', '--status', 'waiting')).stdout)
    expect(runs).toHaveLength(2)
    const [{ id }] = runs
    expect((await muster('approve', id)).stdout).toContain('ledger.pay')
    expect((await muster('approve', id, '--yes')).code).toBe(0)
    await until(
      async () => JSON.parse((await muster('trace', id, '--json')).stdout).run,
      ({ status }) => status === 'succeeded',
    )
    const lines = readFileSync(join(home, 'demo/ledger.jsonl'), 'utf8')
      .split('\n')
      .filter((line) => line.includes(id))
    expect(lines).toHaveLength(1)
  })

  it('answers mistakes with what to do, in words or as JSON, and never with a stack trace', async () => {
    const cases: [args: string[], code: string, says: RegExp][] = [
      [['run', 'payables.nobody'], 'definition.not_found', /payables\.clerk/],
      [['run', 'payables.clerk', '--input', 'no-such-file.xml'], 'request.invalid', /cannot be read/],
      [['run', 'payables.clerk', '--input', '{"file": '], 'request.invalid_json', /JSON/],
      [['run', 'payables.clerk', '--input', '{"pages": 3}'], 'input.invalid', /\/input/],
      [['trace', '01a20f93-4fe0-7f7f-98b8-0a7737a7b138'], 'run.not_found', /no run/],
      [['verify', 'nonsense'], 'run.not_found', /nonsense/],
    ]
    for (const [args, code, says] of cases) {
      const human = await muster(...args)
      expect(human).toMatchObject({ code: 1, stderr: expect.stringContaining(code) })
      expect(human.stderr).toMatch(says)
      expect(human.stderr).not.toMatch(/\n\s+at /)
      const json = await muster(...args, '--json')
      expect(JSON.parse(json.stderr.trim().split('\n').at(-1) ?? '')).toMatchObject({ code })
    }
    const wrongKey = await promisify(execFile)(process.execPath, [cli, 'runs'], {
      env: { ...environment(), MUSTER_KEY: 'mk_wrong' },
    }).catch((error) => error)
    expect(wrongKey).toMatchObject({ code: 1, stderr: expect.stringContaining('auth.invalid_key') })
    const nobody = await promisify(execFile)(process.execPath, [cli, 'runs'], {
      env: { ...environment(), MUSTER_URL: 'http://127.0.0.1:1' },
    }).catch((error) => error)
    expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining('No Muster server answers') })
    const badSetting = await promisify(execFile)(process.execPath, [cli, 'config'], {
      env: { ...environment(), MUSTER_PORT: 'http' },
    }).catch((error) => error)
    expect(badSetting).toMatchObject({ code: 1, stderr: expect.stringContaining('MUSTER_PORT') })
  })
})

describe('a second muster dev', () => {
  it('starts from the kept data after Ctrl-C stopped everything', async () => {
    await endGroup('SIGINT')
    expect(dev.exitCode).toBe(0)
    expect(output.slice(output.lastIndexOf('stopping…')).trim()).toBe('stopping…')
    const { stdout } = await promisify(execFile)('pgrep', ['-f', home]).catch(() => ({ stdout: '' }))
    expect(stdout).toBe('')
    const ledger = readFileSync(join(home, 'demo/ledger.jsonl'), 'utf8')
    startDev()
    await up()
    expect(output).toContain('was run before')
    expect(output).toMatch(/verify: ok \(\d+ journals\)/)
    expect(readFileSync(join(home, 'demo/ledger.jsonl'), 'utf8')).toBe(ledger)
    // The approval that was not answered is still there to be answered.
    expect(JSON.parse((await muster('runs', '--json', '--status', 'waiting')).stdout).runs).toHaveLength(1)
  }, 120_000)

  it('processes a document that was dropped into the folder, and pays none of the others again', async () => {
    const [worker, server] = await Promise.all([child('worker'), child('server')])
    // It takes longer to stop than the server, which is not to be started again meanwhile.
    process.kill(worker, 'SIGSTOP')
    const ended = endGroup('SIGTERM')
    await until(
      () => isRunning(server),
      (is) => !is,
    )
    process.kill(worker, 'SIGCONT')
    await ended
    expect(output.slice(output.lastIndexOf('stopping…')).trim()).toBe('stopping…')
    const before = readFileSync(join(home, 'demo/ledger.jsonl'), 'utf8')
    cpSync(join(documents, 'lunch-menu-week-47.txt'), join(home, 'demo/inbox/my-own-menu.txt'))
    startDev()
    await up()
    expect(output).toContain('my-own-menu.txt')
    expect(readFileSync(join(home, 'demo/ledger.jsonl'), 'utf8')).toBe(before)
  }, 120_000)

  it.skipIf(!existsSync('/dev/full'))(
    'goes on where there is no room for its logs',
    async () => {
      await endGroup('SIGTERM')
      for (const log of ['server.log', 'worker.log']) {
        rmSync(join(home, 'logs', log))
        symlinkSync('/dev/full', join(home, 'logs', log))
      }
      startDev()
      await up()
      expect(output).toMatch(/verify: ok \(\d+ journals\)/)
      expect(dev.exitCode).toBe(null)
    },
    120_000,
  )
})
