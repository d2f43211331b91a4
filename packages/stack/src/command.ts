import { execFile } from 'node:child_process'

export interface CommandOptions {
  cwd?: string
  env?: Record<string, string>
  /** The command is killed after it. */
  timeoutMs: number
}

/** Runs a program to its end and returns what it printed; rejects with its last words if it fails. */
export function runCommand(file: string, args: readonly string[], options: CommandOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const settings = {
      cwd: options.cwd,
      // Messages and formats that we read must not depend on the user's language.
      env: { ...process.env, ...options.env, LC_ALL: 'C' },
      timeout: options.timeoutMs,
      maxBuffer: 16 * 1024 * 1024,
    }
    execFile(file, [...args], settings, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout)
      const why = error.killed ? `took longer than ${options.timeoutMs} ms` : lastLines(stderr || error.message, 3)
      reject(new Error(`${file} ${args[0] ?? ''} failed: ${why}`, { cause: error }))
    })
  })
}

/** The last lines of a text that hold anything. */
export function lastLines(text: string, count: number): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines.slice(-count).join('\n')
}
