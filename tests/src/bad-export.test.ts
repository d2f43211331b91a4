import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkpointText, formatNote, newVerifier, signNote } from '@muster/audit'
import { type ExportVerification, summaryOf, verifyExport } from '@muster/verify'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  filesIn,
  makeRun,
  newFolder,
  newSigner,
  origin,
  readManifest,
  sealFolder,
  writeExport,
  writeFile,
} from './export-fixture.ts'

const verifier = fileURLToPath(import.meta.resolve('@muster/verify'))
const home = newFolder()
const genuine = join(home, 'genuine')
const signer = newSigner()
const run = makeRun(1001)
const journal = `runs/${run.id}.jsonl`
const receipt = `receipts/${run.id}`
const GIB = 2 ** 30

beforeAll(() => writeExport(genuine, [run], { signer, others: 300 }))
afterAll(() => rmSync(home, { recursive: true }))

/** The verifier in a process of its own, with little memory; it must write nothing. */
function verify(folder: string, ...more: string[]) {
  const before = filesIn(home)
  const args = ['--max-old-space-size=256', verifier, folder, '--json', ...more]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    env: {},
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  })
  expect(filesIn(home)).toEqual(before)
  expect(stderr).not.toMatch(/\n\s+at /)
  const result: ExportVerification | undefined = status === 2 ? undefined : JSON.parse(stdout)
  const codes = [...new Set(result?.findings.map(({ code, file }) => `${code} ${file}`))]
  return { status, codes, error: stderr }
}

/** Of a copy after a change. */
function after(change: (folder: string) => unknown, ...more: string[]) {
  const folder = join(home, 'copy')
  rmSync(folder, { recursive: true, force: true })
  cpSync(genuine, folder, { recursive: true })
  change(folder)
  return verify(folder, ...more)
}

/** `[[[…]]]` deeper than a call stack. */
const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`

const withManifest = (change: object) => (folder: string) => sealFolder(folder, { ...readManifest(folder), ...change })

const withLine = (line: string) => (folder: string) => {
  writeFile(folder, journal, `${line}\n`)
  sealFolder(folder)
}

describe('the verifier, given', () => {
  it('what is no export, says so and exits with 2', () => {
    mkdirSync(join(home, 'empty'))
    writeFileSync(join(home, 'file'), '')
    symlinkSync(genuine, join(home, 'link'))
    for (const name of ['empty', 'file', 'link', 'nowhere'])
      expect(verify(join(home, name))).toMatchObject({ status: 2, error: expect.stringMatching(/is no/) })
    expect(verify(genuine, '--older', join(home, 'nowhere'))).toMatchObject({
      status: 2,
      error: expect.stringContaining('ENOENT'),
    })
    expect(verify(genuine).status).toBe(0)
  })

  it('another format, a manifest of other types, or one that is nested too deep', () => {
    for (const change of [
      { format: 'muster-audit-export/2' },
      { scope: { kind: 'range', since: { valueOf: 1, toString: 1 } } },
      { unsealed: [{ toString: 1 }] },
      { missing: 'none' },
      { redacted: { email: { toString: 1 }, iban: 1 } },
    ])
      expect(after(withManifest(change))).toMatchObject({
        status: 1,
        codes: expect.arrayContaining(['manifest manifest.json']),
      })
    for (const text of ['', deep, `{"format":"muster-audit-export/1","files":${deep}}`, '\xff', 'null', '"'])
      expect(after((folder) => writeFile(folder, 'manifest.json', text)).codes).toContain('manifest manifest.json')
    const redacted = `{"redacted":${deep},`
    const nested = after((folder) => {
      const text = JSON.stringify(readManifest(folder)).replace('{', redacted)
      writeFile(folder, 'manifest.json', text)
    })
    expect(nested.codes).toContain('manifest manifest.json')
  })

  it('entries that are no entries, or nested too deep', () => {
    const line = (entry: object) => JSON.stringify({ seq: 1, hash: 'e'.repeat(64), bytes: '{"seq":1}', ...entry })
    for (const bad of [
      ...['{', deep, 'null', '1', line({ seq: '1' }), line({ content: 1 }), line({ content: { toString: 1 } })],
      ...[line({ bytes: deep }), line({ bytes: `{"seq":1,"redacted":${deep}}` }), line({ hash: { toString: 1 } })],
      line({ bytes: '{"seq":1,"type":"step.intent","step":{"toString":1},"decision":{"set":{"toString":1}}}' }),
      line({}).replace('"bytes":', `"bytes":${deep},"bytes":`),
    ])
      expect(after(withLine(bad))).toMatchObject({
        status: 1,
        codes: expect.arrayContaining([`entry-changed ${journal}`]),
      })
    // Each of these lines names ten thousand places that are not there.
    const far = Array.from({ length: 2000 }, (_, i) => line({ seq: (i + 1) * 10_000 }))
    expect(after(withLine(far.join('\n'))).codes).toContain(`entry-removed ${journal}`)
  })

  it('files that are cut, or of ten gibibytes, by little memory', () => {
    for (const name of filesIn(genuine)) {
      const named = name === 'manifest.sha256' ? 'manifest.json' : name
      const cut = after((folder) => truncateSync(join(folder, name), 10))
      expect(
        cut.codes.filter((code) => code.endsWith(` ${named}`)),
        name,
      ).not.toEqual([])
      if (name === journal) continue
      const huge = after((folder) => truncateSync(join(folder, name), 10 * GIB))
      expect(
        huge.codes.filter((code) => code.endsWith(` ${named}`)),
        name,
      ).not.toEqual([])
    }
    // A journal may be of any length, so it is read to its end: but not kept.
    const long = after((folder) => truncateSync(join(folder, journal), GIB))
    expect(long).toMatchObject({ status: 1, codes: expect.arrayContaining([`entry-changed ${journal}`]) })
    // Nor is all told that is wrong with it.
    const wrong = after((folder) => writeFile(folder, journal, '\n'.repeat(3_000_000)))
    expect(wrong).toMatchObject({ status: 1, codes: expect.arrayContaining([`entry-changed ${journal}`]) })
  })

  it('names that lead elsewhere, links, devices and what is not UTF-8: nothing of it is opened', () => {
    const elsewhere = ['../genuine/checkpoint', '/etc/passwd', 'runs/../../genuine/keys', '__proto__', '']
    const files = Object.fromEntries(elsewhere.map((name) => [name, 'a'.repeat(64)]))
    const named = after((folder) => {
      const text = JSON.stringify({ ...readManifest(folder), files }, null, 2)
      writeFile(folder, 'manifest.json', text)
    })
    for (const name of ['../genuine/checkpoint', '/etc/passwd']) expect(named.codes).toContain(`file-removed ${name}`)
    const odd = after((folder) => {
      symlinkSync('/dev/zero', join(folder, 'runs/zero.jsonl'))
      symlinkSync('../../empty', join(folder, 'runs/folder'))
      symlinkSync('/etc/passwd', join(folder, 'passwd'))
      execFileSync('mkfifo', [join(folder, 'receipts/fifo')])
      writeFileSync(Buffer.concat([Buffer.from(join(folder, 'runs/')), Buffer.of(0xff), Buffer.from('.jsonl')]), '')
      writeFile(folder, journal.toUpperCase(), 'x')
      writeFile(folder, `${'d/'.repeat(500)}file`, 'x')
    })
    expect(odd.status).toBe(1)
    const added = [
      'runs/zero.jsonl',
      'runs/folder',
      'passwd',
      'receipts/fifo',
      'runs/\u{fffd}.jsonl',
      journal.toUpperCase(),
    ]
    for (const name of [...added, `${'d/'.repeat(500)}file`]) expect(odd.codes).toContain(`file-added ${name}`)
  })

  it('folders and files whose names are too long to be opened, and files that no export has', () => {
    const folder = join(home, 'long')
    cpSync(genuine, folder, { recursive: true })
    // Not to be made, nor removed, by its whole name.
    const below = `${'d'.repeat(250)}/`.repeat(9)
    execFileSync('bash', ['-c', `cd '${folder}' && for i in 1 2; do mkdir -p ${below} && cd ${below}; done`])
    const { status, stdout } = spawnSync(process.execPath, [verifier, folder, '--json'], { encoding: 'utf8' })
    execFileSync('rm', ['-r', folder])
    const { findings }: ExportVerification = JSON.parse(stdout)
    expect({ status, findings }).toMatchObject({
      status: 1,
      findings: [{ code: 'file-added', file: expect.stringMatching(/^(d+\/)+d+$/) }],
    })
    const listed = after((folder) => {
      writeFile(folder, 'approvals.txt', 'all is approved')
      writeFile(folder, 'policies/notes.json', '{}')
      writeFile(folder, 'RUNS/x.jsonl', '')
      writeFile(folder, 'runs/approvals.txt', 'all is approved')
      sealFolder(folder)
    })
    expect(listed.codes.sort()).toEqual(
      ['RUNS/x.jsonl', 'approvals.txt', 'policies/notes.json', 'runs/approvals.txt'].map(
        (name) => `file-added ${name}`,
      ),
    )
  })

  it('names that would turn around or hide what is beside them, which it shows by their numbers', () => {
    const folder = join(home, 'named')
    cpSync(genuine, folder, { recursive: true })
    writeFileSync(join(folder, 'runs/\u{202e}lnosj\u{200b}'), '')
    const { stdout } = spawnSync(process.execPath, [verifier, folder], { encoding: 'utf8' })
    expect(stdout).toContain('[file-added] runs/⟨U+202E⟩lnosj⟨U+200B⟩: is not in the manifest')
    // Nor is it stopped by a time that there is not, which any witness can sign.
    const signers = [{ name: 'w', id: '', witness: true, at: 2 ** 62 }]
    expect(summaryOf({ ...verifyExport(genuine), signers })).toContain('witness w, ')
  })

  it('a checkpoint over more leaves than there could be, signed by its own key', async () => {
    for (const only of [false, true]) {
      const size = Number.MAX_SAFE_INTEGER
      const text = checkpointText({ origin, size, root: Buffer.alloc(32) })
      const checkpoint = formatNote({ text, signatures: [await signNote(text, origin, signer)] })
      const { status, codes } = after(
        (folder) => {
          writeFile(folder, 'checkpoint', checkpoint)
          const scope = only ? { kind: 'run', run: run.id } : { kind: 'tenant' }
          sealFolder(folder, { ...readManifest(folder), size, scope })
        },
        '--key',
        newVerifier(origin, signer.publicKey).vkey,
      )
      expect({ status, codes }).toMatchObject({
        status: 1,
        codes: expect.arrayContaining(['tree checkpoint', `receipt ${receipt}`]),
      })
    }
  })
})
