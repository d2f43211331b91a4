import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { runCommand } from './command.ts'

/** Hold of a running server, whether this process started it or found it. */
export interface ServerHandle {
  isAlive(): Promise<boolean>
  signal(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>
  /** Asks it to stop without waiting: all that can be done while our own process exits. */
  signalAtExit(): void
}

/**
 * A server that is a process of this machine. `hasExited` tells of a child that it is gone, after which its number may be
 * another process's.
 */
export function processHandle(pid: number, hasExited: () => boolean = () => false): ServerHandle {
  const isAlive = (): boolean => !hasExited() && isRunning(pid)
  const send = (signal: NodeJS.Signals): void => {
    if (!isAlive()) return
    try {
      process.kill(pid, signal)
    } catch {
      // It has just ended.
    }
  }
  return {
    isAlive: async () => isAlive(),
    signal: async (signal) => send(signal),
    signalAtExit: () => send('SIGTERM'),
  }
}

/** A server in a Docker container; `docker` is the path of the program. */
export function containerHandle(docker: string, name: string): ServerHandle {
  const kill = ['kill', '--signal']
  return {
    async isAlive() {
      const args = ['inspect', '--format', '{{.State.Running}}', name]
      return await runCommand(docker, args, { timeoutMs: 10_000 }).then(
        (output) => output.trim() === 'true',
        () => false,
      )
    },
    async signal(signal) {
      // Fails when it has just ended, which is what we want.
      await runCommand(docker, [...kill, signal, name], { timeoutMs: 10_000 }).catch(() => undefined)
    },
    signalAtExit() {
      const child = spawn(docker, [...kill, 'SIGTERM', name], { detached: true, stdio: 'ignore' })
      child.on('error', () => undefined)
      child.unref()
    },
  }
}

/** SIGTERM, on which Redis writes its log to disk and ends; SIGKILL if it has not ended within `graceMs`. */
export async function stopServer(server: ServerHandle, graceMs: number): Promise<void> {
  await server.signal('SIGTERM')
  if (await ended(server, graceMs)) return
  await server.signal('SIGKILL')
  if (!(await ended(server, graceMs))) throw new Error('The Redis server does not end, not even by SIGKILL')
}

async function ended(server: ServerHandle, withinMs: number): Promise<boolean> {
  const end = performance.now() + withinMs
  while (await server.isAlive()) {
    if (performance.now() > end) return false
    await sleep(20)
  }
  return true
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it runs, as another user.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
  return !isZombie(pid)
}

/** In a container whose first process does not collect orphans, a dead server stays in the process table for ever. */
function isZombie(pid: number): boolean {
  if (process.platform !== 'linux') return false
  try {
    // "pid (name) state ...": the name may hold spaces and brackets.
    return /\) Z [^)]*$/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return true
  }
}

const stoppedAtExit = new Set<ServerHandle>()

/** Asks the server to stop when this process exits without having stopped it. Returns how to take that back. */
export function stopAtExit(server: ServerHandle): () => void {
  if (stoppedAtExit.size === 0) process.on('exit', signalAll)
  stoppedAtExit.add(server)
  return () => {
    stoppedAtExit.delete(server)
    if (stoppedAtExit.size === 0) process.off('exit', signalAll)
  }
}

function signalAll(): void {
  for (const server of stoppedAtExit) server.signalAtExit()
}
