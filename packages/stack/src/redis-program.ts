import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { MusterError } from '@muster/protocol'
import { runCommand } from './command.ts'
import { unpackDebianRedis } from './debian-redis.ts'
import { findProgram } from './program.ts'

/** Something that can run a Redis server. */
export type RedisProgram =
  | { source: 'path' | 'package'; command: string; env: Record<string, string> }
  | { source: 'docker'; docker: string }

export interface RedisProgramOptions {
  /** Folders to look in for redis-server, apt-get and docker, as in the variable PATH, which is the default. */
  path?: string
  /** Where packages are unpacked; default: `muster` in the user's cache folder. */
  cacheDir?: string
  log?: (line: string) => void
}

/**
 * Finds a Redis or Valkey server: on PATH, else from the distribution's packages, else by Docker.
 *
 * @throws MusterError `stack.missing` with the one command that installs it here
 */
export async function findRedisProgram(options: RedisProgramOptions = {}): Promise<RedisProgram> {
  const path = options.path ?? process.env.PATH ?? ''
  const log = options.log ?? (() => undefined)
  const installed = await findProgram(['redis-server', 'valkey-server'], path)
  if (installed !== undefined) return { source: 'path', command: installed, env: {} }

  const [aptGet, dpkg] = [await findProgram(['apt-get'], path), await findProgram(['dpkg'], path)]
  let why = ''
  if (aptGet !== undefined && dpkg !== undefined) {
    try {
      const redis = await unpackDebianRedis({ aptGet, dpkg }, options.cacheDir ?? userCacheDir(), log)
      return { source: 'package', command: redis.command, env: redis.env }
    } catch (error) {
      why = ` Fetching the packages failed: ${error instanceof Error ? error.message : String(error)}.`
    }
  }

  const docker = await findProgram(['docker'], path)
  if (docker !== undefined && (await dockerWorks(docker))) return { source: 'docker', docker }

  const command = installCommand(process.platform, await readFile('/etc/os-release', 'utf8').catch(() => ''))
  throw new MusterError('stack.missing', `No Redis or Valkey server was found.${why} Install one: ${command}`)
}

/** The one command that gives this system a server that we find. `osRelease` is the text of /etc/os-release, if any. */
export function installCommand(platform: NodeJS.Platform, osRelease: string): string {
  if (platform === 'darwin') return 'brew install redis'
  // Neither Redis nor Valkey is built for Windows.
  if (platform === 'win32') return 'wsl --install, then start Muster in it; or set REDIS_URL'
  const family = /^ID=.*$/m.exec(osRelease)?.[0] + (/^ID_LIKE=.*$/m.exec(osRelease)?.[0] ?? '')
  if (/debian|ubuntu/.test(family)) return 'sudo apt-get install -y redis-server'
  if (/alpine/.test(family)) return 'sudo apk add valkey'
  if (/arch/.test(family)) return 'sudo pacman -S --noconfirm valkey'
  if (/suse/.test(family)) return 'sudo zypper install -y valkey'
  return 'sudo dnf install -y valkey'
}

function userCacheDir(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'muster')
}

async function dockerWorks(docker: string): Promise<boolean> {
  return await runCommand(docker, ['info'], { timeoutMs: 10_000 }).then(
    () => true,
    () => false,
  )
}
