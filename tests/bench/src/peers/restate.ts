import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '@muster/stack'
import { resultOf, type Subject } from '../subject.ts'
import { CHAIN, FAN } from '../subjects/app.ts'
import { Packages, until } from './packages.ts'
import { type PeerOptions, peer } from './peer.ts'

/** What is used of `@restatedev/restate-sdk`. */
interface Sdk {
  service(definition: { name: string; handlers: Record<string, (context: Context) => Promise<unknown>> }): object
  serve(options: { services: object[]; port: number; logger: () => void }): Promise<number>
}
interface Context {
  run<T>(name: string, action: () => T): Promise<T>
}

/** Restate: a single server with its log on disk, and a service of durable steps (`ctx.run`) in this process. */
export async function restate(options: PeerOptions): Promise<Subject> {
  const packages = await Packages.install('restate', {
    '@restatedev/restate-sdk': '1.17.2',
    '@restatedev/restate-server': '1.7.12',
  })
  const sdk = await packages.load<Sdk>('@restatedev/restate-sdk')
  const folder = mkdtempSync(join(tmpdir(), 'muster-restate-'))
  const [ingress, admin, node, service] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
  const platform = `${process.platform}-${process.arch}`
  const server = spawn(
    packages.file('@restatedev', `restate-server-${platform}`, 'bin/restate-server'),
    ['--base-dir', folder, '--no-logo'],
    {
      stdio: 'ignore',
      env: {
        ...process.env,
        RESTATE_LISTEN_MODE: 'tcp',
        RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
        RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
        RESTATE_BIND_ADDRESS: `127.0.0.1:${node}`,
        RESTATE_DISABLE_TELEMETRY: 'true',
      },
    },
  )
  const stopped = once(server, 'exit')
  const handlers = {
    chain: async (context: Context) => {
      let last: unknown
      for (let i = 0; i < CHAIN; i++) last = await context.run(`s${i}`, () => resultOf(i))
      return last
    },
    fan: async (context: Context) => {
      await Promise.all(Array.from({ length: FAN }, (_, i) => context.run(`s${i}`, () => resultOf(i))))
      return context.run('join', () => resultOf(FAN))
    },
  }
  await sdk.serve({ services: [sdk.service({ name: 'bench', handlers })], port: service, logger: () => {} })
  await until('Restate answers', async () => (await fetch(`http://127.0.0.1:${admin}/health`)).ok)
  const post = async (url: string, body?: object) => {
    const response = await fetch(url, {
      method: 'POST',
      ...(body ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {}),
    })
    if (!response.ok) throw new Error(`Restate: HTTP ${response.status} ${await response.text()}`)
    return response.json()
  }
  await post(`http://127.0.0.1:${admin}/deployments`, { uri: `http://127.0.0.1:${service}` })
  return peer(
    options,
    () => post(`http://127.0.0.1:${ingress}/bench/${options.plan}`) as Promise<{ n: number }>,
    async () => {
      server.kill('SIGKILL')
      await stopped
      rmSync(folder, { recursive: true, force: true })
    },
  )
}
