import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describeConfig, errorCatalog, readConfig } from '@muster/protocol'

const root = join(import.meta.dirname, '..')
const folder = join(import.meta.dirname, 'reference')

interface Page {
  /** From the root of the repository. */
  path: string
  text: string
}

/** The pages of the reference that are made from code. */
function pages(): Page[] {
  const page = (name: string, text: string): Page => ({ path: relative(root, join(folder, name)), text })
  return [page('errors.md', errorsPage()), page('configuration.md', configurationPage())]
}

const note = '<!-- Written by `pnpm docs:write` from the code. Change the code, not this page. -->'

function errorsPage(): string {
  const rows = Object.entries(errorCatalog).map(([code, [status, title, hint]]) => [
    `\`${code}\``,
    String(status),
    title,
    hint,
  ])
  return `# Errors

${note}

Every error that a user can meet has one of these codes. The API sends it as problem details
([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) in \`code\`, with the hint beside it; in code it is
\`MusterError.code\`. Codes are stable: look at the code, not at the message.

${table(['Code', 'Status', 'Title', 'What to do'], rows)}`
}

function configurationPage(): string {
  const rows = describeConfig(readConfig({}), {}).map(({ name, value, about }) => [
    `\`${name}\``,
    value === null ? '' : `\`${value}\``,
    about,
  ])
  return `# Configuration

${note}

Everything is configured by environment variables. An empty one counts as unset. A wrong one ends the
start with \`config.invalid\` and the names of all that are wrong. \`muster config\` prints each with its
value; secrets are masked.

${table(['Variable', 'Default', 'What it is'], rows)}`
}

/** A Markdown table with columns of even width, as the formatter wants it. */
function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const rows = [head, ...body].map((row) => row.map(escapeCell))
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`
  const [first = [], ...rest] = rows
  return `${[line(first), line(widths.map((width) => '-'.repeat(width))), ...rest.map(line)].join('\n')}\n`
}

/** Escapes what Markdown would read as a column or a tag; in a code span only the column. */
function escapeCell(text: string): string {
  const parts = text.replace(/\|/g, '\\|').split('`')
  return parts.map((part, i) => (i % 2 === 0 ? part.replace(/<(?=[a-z/])/gi, '\\<') : part)).join('`')
}

/** Pages that are not what the code says, by their path. */
export function stalePages(): string[] {
  return pages()
    .filter(({ path, text }) => readOrNothing(join(root, path)) !== text)
    .map(({ path }) => path)
}

function readOrNothing(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

if (import.meta.main) {
  for (const { path, text } of pages()) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
    console.log(`wrote ${path}`)
  }
}
