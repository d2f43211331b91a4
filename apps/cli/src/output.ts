import { MusterError } from '@muster/protocol'
import Table from 'cli-table3'
import pc from 'picocolors'

/** What went wrong, for a person: what, where, and what to do. Never a stack trace. */
export function describeError(error: unknown): string {
  if (error instanceof MusterError) {
    const issues = (error.issues ?? [])
      .filter((issue) => !error.message.includes(issue.message))
      .map((issue) => `\n  ${issue.path || '/'}: ${issue.message}`)
    return `${pc.red('error')} ${error.code}: ${error.message}${issues.join('')}\n${pc.dim(error.hint)}`
  }
  return `${pc.red('error')} ${error instanceof Error ? error.message : String(error)}`
}

/** Reports a failure as the flags ask, and gives the exit code. */
export function fail(error: unknown, json: boolean): number {
  if (json) {
    const problem =
      error instanceof MusterError
        ? error.toProblem()
        : { code: 'internal', detail: error instanceof Error ? error.message : String(error) }
    console.error(JSON.stringify(problem))
  } else console.error(describeError(error))
  return 1
}

export function print(value: unknown): void {
  console.log(JSON.stringify(value, null, 2))
}

/** An empty table, in colour only where there is a terminal. */
export function tableOf(head: string[]): Table.Table {
  return new Table({ head, style: { head: [], border: pc.isColorSupported ? ['grey'] : [], compact: true } })
}

export function money(usd: number): string {
  if (usd > 0 && usd < 0.00005) return '<$0.0001'
  return usd === 0 ? '' : `$${usd.toFixed(4)}`
}

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  return ms < 60_000
    ? `${(ms / 1000).toFixed(1)} s`
    : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`
}

/** What is recorded may be a time that no date has: it is told as a number then. */
export function dateOf(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`
}

/** Text that may come from a stranger, without the control characters that a terminal obeys; what hides or turns around others is named. */
export function plain(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
      .replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
      .replace(
        /[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu,
        (one) => `⟨U+${(one.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`,
      )
  )
}
