import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, realpathSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { type Config, MusterError } from '@muster/protocol'
import { createMuster } from '@muster/sdk'
import pc from 'picocolors'
import { connection } from '../connection.ts'
import { plain, print } from '../output.ts'
import {
  CODEX_KEY,
  missingIn,
  overridesOf,
  type Provider,
  readToml,
  shownOf,
  withoutProvider,
  withProvider,
} from './codex-config.ts'

export interface CodexFlags {
  /** A route; `default`, or the only one there is, unless given. */
  model?: string
  functionsOnly: boolean
  print: boolean
  remove: boolean
  json: boolean
}

/** `muster codex`: Codex speaks to its model through the gateway from now on. */
export async function codexSetupCommand(config: Config, flags: CodexFlags): Promise<number> {
  const file = codexFile()
  const before = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const provider = flags.remove ? undefined : await providerOf(config, flags)
  const after = about(file, () => (provider ? withProvider(before, provider) : withoutProvider(before)))
  const isChanged = after !== before
  if (isChanged && !flags.print) write(file, after)
  const shown = shownOf(after)
  const codex = await codexVersion()
  const missing = provider ? missingIn(after, provider) : []
  if (flags.json) {
    print({ file, changed: isChanged, saved: isChanged && !flags.print, ...provider, ...shown, codex, missing })
    return 0
  }
  if (flags.print && provider) console.log(`${pc.dim(`# ${file}`)}\n${shown.written.join('\n')}`)
  else
    console.log(`${isChanged && !flags.print ? 'wrote' : isChanged ? 'would change' : 'nothing to change in'} ${file}`)
  for (const line of shown.aside) console.log(`set aside until --remove: ${plain(line)}`)
  if (!provider) return 0
  const hints = [
    `export ${CODEX_KEY}=<key>, then: codex`,
    ...(codex === null ? ['Codex is not installed: npm install -g @openai/codex'] : []),
    ...missing.map((line) => `put into it yourself, since it has such a table: ${line}`),
  ]
  for (const hint of hints) console.log(pc.dim(hint))
  return 0
}

/** `muster codex exec …`: runs Codex on the gateway and changes no file. Gives its exit code. */
export async function codexRunCommand(config: Config, args: readonly string[], flags: CodexFlags): Promise<number> {
  const provider = await providerOf(config, flags)
  const file = codexFile()
  const own = about(file, () => readToml(existsSync(file) ? readFileSync(file, 'utf8') : ''))
  const env = { ...process.env, [CODEX_KEY]: keyOf(config).key }
  const child = spawn('codex', [...overridesOf(provider, own), ...args], { stdio: 'inherit', env })
  // A terminal's Ctrl-C goes to both; what it means is up to Codex.
  const leave = () => {}
  process.on('SIGINT', leave)
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', (cause) => reject(absent(cause)))
      child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)))
    })
  } finally {
    process.off('SIGINT', leave)
  }
}

/** @throws MusterError `model.not_found`, `server.unavailable`, `auth.invalid_key` and what else a server says */
async function providerOf(config: Config, { model, functionsOnly, print }: CodexFlags): Promise<Provider> {
  const about = { baseUrl: baseUrlOf(config), functionsOnly }
  // What is only shown needs no server.
  if (print && model !== undefined) return { ...about, model }
  const { data } = await createMuster(keyOf(config)).request<{ data: { id: string }[] }>('GET', '/v1/models')
  const names = data.map(({ id }) => id)
  const [only] = names.length === 1 ? names : []
  const chosen = model ?? only ?? 'default'
  if (names.includes(chosen)) return { ...about, model: chosen }
  if (names.length === 0) throw new MusterError('model.not_found', 'the gateway has no route that this key may use')
  const there = names.map(plain).join(', ')
  const why = model === undefined ? 'name a route with --model' : `--model ${model}: this key may use no such route`
  throw new MusterError('model.not_found', `${why}; there is ${there}`)
}

function keyOf(config: Config): { url: string; key: string } {
  return connection({ ...config, MUSTER_KEY: config.MUSTER_API_KEY ?? config.MUSTER_KEY })
}

function baseUrlOf(config: Config): string {
  return `${(config.MUSTER_URL ?? `http://${config.MUSTER_HOST}:${config.MUSTER_PORT}`).replace(/\/$/, '')}/v1`
}

function codexFile(): string {
  return join(process.env.CODEX_HOME || join(homedir(), '.codex'), 'config.toml')
}

/** Whole or not at all, with the rights that it had, and where a link to it leads. */
function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  const there = existsSync(file)
  const target = there ? realpathSync(file) : file
  const draft = `${target}.muster-${process.pid}`
  writeFileSync(draft, text, { mode: there ? statSync(target).mode & 0o777 : 0o600 })
  renameSync(draft, target)
}

function about<T>(file: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof MusterError)) throw error
    throw new MusterError(error.code, `${file}: ${error.message}`, { cause: error })
  }
}

async function codexVersion(): Promise<string | null> {
  return promisify(execFile)('codex', ['--version']).then(
    ({ stdout }) => /\d+\.\d+\.\d+\S*/.exec(stdout)?.[0] ?? null,
    () => null,
  )
}

function absent(cause: Error): MusterError {
  return new MusterError('codex.absent', 'there is no program codex: npm install -g @openai/codex', { cause })
}
