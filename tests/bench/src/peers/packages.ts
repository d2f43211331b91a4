import { execFile } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

/** Packages of a peer: installed when it is measured and never before, where any user may read them. */
export class Packages {
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /** `packages` by name and exact version. Runs none of their install scripts. */
  static async install(peer: string, packages: Readonly<Record<string, string>>): Promise<Packages> {
    const wanted = Object.entries(packages).map(([name, version]) => `${name}@${version}`)
    const folder = join(tmpdir(), 'muster-peers', `${peer}-${Object.values(packages).join('-')}`)
    mkdirSync(folder, { recursive: true })
    await promisify(execFile)(
      'npm',
      ['install', '--prefix', folder, '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', ...wanted],
      { cwd: folder },
    )
    return new Packages(folder)
  }

  /** A package's module, as what the caller says that it is. */
  async load<T>(name: string): Promise<T> {
    const file = createRequire(join(this.folder, 'package.json')).resolve(name)
    const module = await import(pathToFileURL(file).href)
    return module as T
  }

  file(...path: string[]): string {
    return join(this.folder, 'node_modules', ...path)
  }
}

/** Asks until the answer is yes. */
export async function until(what: string, isSo: () => Promise<boolean>, withinMs = 60_000): Promise<void> {
  for (const began = performance.now(); !(await isSo().catch(() => false)); ) {
    if (performance.now() - began > withinMs) throw new Error(`${what} within ${withinMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
