import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'smol-toml'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { missingIn, overridesOf, withoutProvider, withProvider } from './codex-config.ts'

const provider = { baseUrl: 'http://127.0.0.1:7420/v1', model: 'gpt-5.5' }
const own = `# mine
model = "o3" # the one I like
model_reasoning_effort = "high"
notify = ["a", "b"]

[model_providers.other]
name = "Other" # keep
model = "not at the top"

[mcp_servers.docs]
command = "npx"
`

describe("Codex's config.toml", () => {
  it('gains the provider, keeps all else to the letter, and is as it was after --remove', () => {
    const set = withProvider(own, provider)
    expect(withProvider(set, provider)).toBe(set)
    expect(withoutProvider(set)).toBe(own)
    for (const line of own.split('\n').filter((line) => !line.startsWith('model = "o3"'))) expect(set).toContain(line)
    expect(parse(set)).toMatchObject({
      ...{ model_provider: 'muster', model: 'gpt-5.5', model_reasoning_effort: 'high', web_search: 'disabled' },
      model_providers: {
        other: { name: 'Other', model: 'not at the top' },
        muster: { base_url: provider.baseUrl, wire_api: 'responses', env_key: 'MUSTER_API_KEY' },
      },
      shell_environment_policy: { exclude: ['MUSTER_API_KEY'] },
      mcp_servers: { docs: { command: 'npx' } },
    })
    // As Codex adds to it: keys after those that it knows, tables at the end.
    const added = set.replace(/^web_search.*$/m, '$&\npersonality = "pragmatic"').concat('[projects."/x"]\na = 1\n')
    expect(withoutProvider(added)).toBe(`personality = "pragmatic"\n${own}[projects."/x"]\na = 1\n`)
    const moved = { baseUrl: 'https://muster.acme.example/v1', model: 'default' }
    expect(withProvider(set, moved)).toBe(withProvider(own, moved))
    expect(withoutProvider(withProvider('', provider))).toBe('')
  })

  it.each([
    ['model = "o3', /no valid TOML/],
    ['[model_providers.muster]\nname = "mine"\n', /a provider muster that is not ours/],
    ['model_providers = { other = { name = "x" } }\n', /./],
    ['x = """\nmodel = 1\n"""\n', /without changing the rest/],
  ])('is refused, and not bent, where it cannot be added to: %j', (text, message) => {
    expect(() => withProvider(text, provider)).toThrow(
      expect.objectContaining({ code: 'codex.config', message: expect.stringMatching(message) }),
    )
  })

  it('keeps what the user excludes, and says what it cannot add to it', () => {
    const args = overridesOf(provider, { shell_environment_policy: { exclude: ['AWS_*'] } })
    const read = args.filter((arg) => arg !== '-c').map((arg) => parse(arg))
    expect(read).toContainEqual({ shell_environment_policy: { exclude: ['AWS_*', 'MUSTER_API_KEY'] } })
    expect(read).toContainEqual({ model: 'gpt-5.5' })
    const own = '[shell_environment_policy]\nexclude = ["AWS_*"]\n'
    const set = withProvider(own, { ...provider, functionsOnly: true })
    expect(parse(set)).toMatchObject({ shell_environment_policy: { exclude: ['AWS_*'] }, agents: { enabled: false } })
    expect(missingIn(set, provider)).toEqual(['shell_environment_policy.exclude = ["AWS_*", "MUSTER_API_KEY"]'])
    expect(missingIn(withProvider('', provider), provider)).toEqual([])
  })
})

describe('muster codex', () => {
  const secret = 'mk-s3cret'
  const home = mkdtempSync(join(tmpdir(), 'muster-codex-'))
  const server = createServer((request, response) => {
    const [status, body] = {
      [`Bearer ${secret}`]: [200, { data: [{ id: 'default' }, { id: 'gpt-5.5' }] }] as const,
      'Bearer elsewhere': [404, { error: { code: 'gateway_off', message: 'This server has no gateway.' } }] as const,
    }[request.headers.authorization ?? ''] ?? [401, { error: { code: 'invalid_api_key', message: 'Unknown API key.' } }]
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  })
  let url: string
  beforeAll(async () => {
    await once(server.listen(0, '127.0.0.1'), 'listening')
    // Null only before it listens.
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
    rmSync(home, { recursive: true })
  })
  const main = new URL('../main.ts', import.meta.url).pathname
  const muster = (args: string[], env: NodeJS.ProcessEnv = {}) =>
    new Promise<{ code: number; out: string; err: string }>((resolve) => {
      const all = { PATH: home, NO_COLOR: '1', HOME: home, CODEX_HOME: home, MUSTER_URL: url, MUSTER_API_KEY: secret }
      execFile(process.execPath, [main, 'codex', ...args], { env: { ...all, ...env } }, (error, out, err) =>
        resolve({ code: Number(error?.code ?? 0), out, err }),
      )
    })

  it('writes it once, shows it, takes it out, and never has the key in it', async () => {
    const real = join(home, 'dotfiles.toml')
    const file = join(home, 'config.toml')
    writeFileSync(real, own, { mode: 0o640 })
    symlinkSync(real, file)
    const shown = await muster(['--print', '--model', 'gpt-5.5'], { MUSTER_URL: 'http://127.0.0.1:9' })
    expect(shown).toMatchObject({ code: 0, out: expect.stringContaining('[model_providers.muster]') })
    expect(readFileSync(file, 'utf8')).toBe(own)
    const first = await muster(['--json'])
    expect(JSON.parse(first.out)).toMatchObject({
      ...{ file, saved: true, model: 'default', baseUrl: `${url}/v1`, codex: null, missing: [] },
      aside: ['model = "o3" # the one I like'],
    })
    const written = readFileSync(real, 'utf8')
    expect(statSync(real).mode & 0o777).toBe(0o640)
    expect(written + first.out + shown.out).not.toContain(secret)
    expect(JSON.parse((await muster(['--json'])).out)).toMatchObject({ changed: false })
    expect(await muster(['--remove'])).toMatchObject({ code: 0, out: expect.stringContaining(`wrote ${file}`) })
    expect(readFileSync(real, 'utf8')).toBe(own)
  })

  it.each([
    [['--model', 'none'], {}, '--model none: this key may use no such route; there is default, gpt-5.5'],
    [[], { MUSTER_URL: 'http://127.0.0.1:9' }, 'No Muster server answers at http://127.0.0.1:9'],
    [[], { MUSTER_API_KEY: 'wrong' }, 'auth.invalid_key: Unknown API key.'],
    [[], { MUSTER_API_KEY: 'elsewhere' }, 'gateway.off: This server has no gateway.'],
    [[], { MUSTER_API_KEY: '', MUSTER_HOME: '/none' }, 'auth.missing_key'],
    [['exec', '--json', 'x'], {}, 'npm install -g @openai/codex'],
  ])('%j with %j says what to do', async (args, env, message) => {
    expect(await muster(args, env)).toMatchObject({ code: 1, err: expect.stringContaining(message) })
  })
})
