/**
 * Checks the code in the documentation: `ts` fences are type-checked, `ts run` fences are run as well,
 * `json` fences and `cedar` fences are parsed. A fence marked `ignore` is skipped; the reason follows the word.
 * Pages that are made from code must be what the code says.
 */
import { execFile, spawnSync } from 'node:child_process'
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { checkParsePolicySet } from '@cedar-policy/cedar-wasm/nodejs'
import { type Fence, findFences } from './fences.ts'
import { stalePages } from './write-reference.ts'

const root = join(import.meta.dirname, '..')
/** Snippets lie here while they are checked, where the workspace's packages resolve. Git ignores it. */
const folder = 'docs/.snippets'
const documents = ['README.md', 'docs/**/*.md', 'packages/*/README.md', 'apps/*/README.md']
const RUN_LIMIT_MS = 60_000

interface Snippet {
  /** The document, from the root of the repository. */
  document: string
  /** Where its code lies as a file, from the root of the repository. */
  file: string
  fence: Fence
}

const problems: string[] = []
let checked = 0

function report(document: string, line: number, message: string): void {
  problems.push(`${document}:${line}: ${message}`)
}

/** Collects the TypeScript of a document and checks everything else at once. */
function readDocument(document: string): Snippet[] {
  const snippets: Snippet[] = []
  for (const fence of findFences(readFileSync(join(root, document), 'utf8'))) {
    const { language, info, line } = fence
    if (!['ts', 'typescript', 'json', 'cedar'].includes(language)) continue
    const [word, ...reason] = info.split(/\s+/)
    if (word === 'ignore') {
      if (reason.length === 0)
        report(document, line - 1, `say why this is not checked: \`\`\`${language} ignore <reason>`)
      continue
    }
    checked++
    if (language === 'json') checkJson(document, fence)
    else if (language === 'cedar') checkCedar(document, fence)
    else if (info === '' || info === 'run')
      snippets.push({ document, file: `${folder}/${document.replaceAll('/', '+')}/${line}.ts`, fence })
    else report(document, line - 1, `unknown mark "${info}": nothing, run, or ignore with a reason`)
  }
  return snippets
}

function checkJson(document: string, { code, line }: Fence): void {
  try {
    JSON.parse(code)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const [, at] = /\(line (\d+) column \d+\)/.exec(message) ?? []
    report(document, line + Number(at ?? 1) - 1, message.replace(/\s+/g, ' '))
  }
}

function checkCedar(document: string, { code, line }: Fence): void {
  const answer = checkParsePolicySet({ staticPolicies: code })
  if (answer.type === 'success') return
  for (const { message, sourceLocations } of answer.errors) {
    // Cedar counts bytes.
    const before = Buffer.from(code).subarray(0, sourceLocations?.[0]?.start ?? 0)
    report(document, line + before.toString().split('\n').length - 1, message)
  }
}

/** Writes each snippet to a file where every line has the number that it has in its document. */
function writeSnippets(snippets: readonly Snippet[]): void {
  rmSync(join(root, folder), { recursive: true, force: true })
  for (const { file, fence } of snippets) {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    // The last line makes it a module, so that two snippets may use one name.
    writeFileSync(join(root, file), `${'\n'.repeat(fence.line - 1)}${fence.code}\nexport {}\n`)
  }
  writeFileSync(
    join(root, folder, 'tsconfig.json'),
    JSON.stringify({ extends: '../../tsconfig.base.json', include: ['**/*.ts'] }),
  )
}

function checkTypes(snippets: readonly Snippet[]): void {
  const documentOf = new Map(snippets.map(({ file, document }) => [file, document]))
  const tsc = join(root, 'node_modules/.bin/tsc')
  const { stdout, stderr, status, error } = spawnSync(tsc, ['--project', folder, '--pretty', 'false'], {
    cwd: root,
    encoding: 'utf8',
  })
  if (error) throw error
  if (status === 0) return
  const before = problems.length
  for (const text of stdout.split('\n')) {
    const [, file = '', line, message = ''] = /^(.+?)\((\d+),\d+\): error (.+)$/.exec(text) ?? []
    const path = file.replaceAll('\\', '/')
    if (line !== undefined) report(documentOf.get(path) ?? path, Number(line), message)
  }
  if (problems.length === before) problems.push(`tsc failed: ${stdout}${stderr}`)
}

/** Runs a snippet with Node; it must end by itself with exit code 0. */
function runSnippet({ document, file, fence }: Snippet): Promise<void> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(root, file)],
      { cwd: root, timeout: RUN_LIMIT_MS, killSignal: 'SIGKILL' },
      (error, stdout, stderr) => {
        if (error) {
          const how = error.killed
            ? `did not end within ${RUN_LIMIT_MS / 1000} s`
            : `ended with ${error.code ?? error.signal}`
          const [, line] = new RegExp(`/${fence.line}\\.ts:(\\d+)`).exec(stderr) ?? []
          report(document, Number(line ?? fence.line), `the snippet ${how}\n${indent(stdout + stderr)}`)
        }
        resolve()
      },
    )
  })
}

function indent(text: string): string {
  return text.trim().replace(/^/gm, '    ')
}

const paths = documents.flatMap((pattern) =>
  globSync(pattern, { cwd: root, exclude: (path) => /(^|[/\\])(node_modules|\.snippets)$/.test(path) }),
)
const snippets = paths
  .map((path) => path.replaceAll('\\', '/'))
  .sort()
  .flatMap(readDocument)
for (const page of stalePages()) problems.push(`${page}:1: is not what the code says: run \`pnpm docs:write\``)
if (snippets.length > 0) {
  try {
    writeSnippets(snippets)
    checkTypes(snippets)
    // What does not compile is not run.
    if (problems.length === 0)
      for (const snippet of snippets) if (snippet.fence.info === 'run') await runSnippet(snippet)
  } finally {
    rmSync(join(root, folder), { recursive: true, force: true })
  }
}
for (const problem of problems) console.error(problem)
console.log(
  `${checked} snippets in ${paths.length} documents: ${problems.length === 0 ? 'ok' : `${problems.length} problems`}`,
)
if (problems.length > 0) process.exitCode = 1
