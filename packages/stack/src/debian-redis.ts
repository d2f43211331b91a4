import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedFolder } from './cached-folder.ts'
import { runCommand } from './command.ts'

/** What redis-server needs beyond Debian's base system. */
const packages = ['redis-server', 'redis-tools', 'libjemalloc2', 'liblzf1']

export interface DebianTools {
  /** Full paths of the programs. */
  aptGet: string
  dpkg: string
}

export interface UnpackedRedis {
  command: string
  env: { LD_LIBRARY_PATH: string }
}

/**
 * The redis-server of the distribution's own signed packages, unpacked into `cacheDir` and not installed: needs no root
 * and changes nothing else on the machine.
 */
export async function unpackDebianRedis(
  tools: DebianTools,
  cacheDir: string,
  log: (line: string) => void,
): Promise<UnpackedRedis> {
  // Binaries of one release do not run on another, and a home folder may be shared by machines.
  const name = `redis-${await releaseName()}-${process.arch}`
  const folder = await cachedFolder(join(cacheDir, name), async (draft) => {
    log(`fetching redis-server from the distribution's packages into ${join(cacheDir, name)} (once)`)
    await download(tools, draft)
    await unpack(tools, draft)
    await check(await locate(draft))
  })
  const unpacked = await locate(folder)
  await check(unpacked)
  return unpacked
}

async function download(tools: DebianTools, folder: string): Promise<void> {
  const fetchAll = async (settings: string[]): Promise<void> => {
    const names = await neededPackages(tools, settings)
    await runCommand(tools.aptGet, [...settings, 'download', ...names], { cwd: folder, timeoutMs: 120_000 })
  }
  try {
    await fetchAll([])
  } catch {
    // The machine's package lists are missing (as in most containers) or too old. We read fresh ones into a folder of our
    // own: that works without root and leaves the machine's lists as they are.
    const state = join(folder, 'apt')
    await mkdir(join(state, 'lists', 'partial'), { recursive: true })
    await mkdir(join(state, 'cache', 'archives', 'partial'), { recursive: true })
    const settings = ['-o', `Dir::State::Lists=${join(state, 'lists')}`, '-o', `Dir::Cache=${join(state, 'cache')}`]
    const patience = ['-o', 'Acquire::http::Timeout=10', '-o', 'Acquire::https::Timeout=10', '-o', 'Acquire::Retries=0']
    // One third-party source that does not answer fails the update, though the lists we need are there by then.
    await runCommand(tools.aptGet, [...settings, ...patience, 'update'], { timeoutMs: 120_000 }).catch(() => undefined)
    await fetchAll(settings)
    await rm(state, { recursive: true })
  }
}

/** Our packages, and the libraries that this release wants besides (Ubuntu builds Redis with a shared Lua). */
async function neededPackages(tools: DebianTools, settings: string[]): Promise<string[]> {
  const args = [...settings, '-qq', '--simulate', '--no-install-recommends', 'install', 'redis-server']
  const plan = await runCommand(tools.aptGet, args, { timeoutMs: 60_000 }).catch(() => '')
  const missing = plan.matchAll(/^Inst ((?:lib|lua)\S+)/gm)
  return [...new Set([...packages, ...Array.from(missing, ([, name = '']) => name)])]
}

async function unpack(tools: DebianTools, folder: string): Promise<void> {
  for (const file of await readdir(folder)) {
    if (!file.endsWith('.deb')) continue
    await runCommand(tools.dpkg, ['-x', join(folder, file), folder], { timeoutMs: 60_000 })
    await rm(join(folder, file))
  }
}

async function locate(folder: string): Promise<UnpackedRedis> {
  const libraries: string[] = []
  for (const parent of [join(folder, 'usr', 'lib'), join(folder, 'lib')]) {
    const entries = await readdir(parent, { withFileTypes: true }).catch(() => [])
    // Multiarch folders are named by the machine's triplet, such as x86_64-linux-gnu.
    libraries.push(
      ...entries.filter((e) => e.isDirectory() && e.name.includes('-linux-')).map((e) => join(parent, e.name)),
    )
  }
  return { command: join(folder, 'usr', 'bin', 'redis-server'), env: { LD_LIBRARY_PATH: libraries.join(':') } }
}

async function check(redis: UnpackedRedis): Promise<void> {
  await runCommand(redis.command, ['--version'], { env: redis.env, timeoutMs: 10_000 })
}

async function releaseName(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '')
  const field = (key: string) => new RegExp(`^${key}="?([\\w.-]+)`, 'm').exec(text)?.[1]
  return [field('ID') ?? 'linux', field('VERSION_ID') ?? field('VERSION_CODENAME')].filter(Boolean).join('-')
}
