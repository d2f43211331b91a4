import { createHash } from 'node:crypto'
import { appendFileSync, cpSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { genesis, newVerifier } from '@muster/audit'
import type { StoredEntry } from '@muster/protocol'
import { type ExportVerification, NotAnExport, summaryOf, type VerifyOptions, verifyExport } from '@muster/verify'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  chainOf,
  filesIn,
  type MadeRun,
  makeBook,
  makeRun,
  newFolder,
  newSigner,
  origin,
  readManifest,
  sealFolder,
  writeExport,
  writeFile,
} from './export-fixture.ts'

const home = newFolder()
const signer = newSigner()
const witness = newSigner()
const vkey = newVerifier(origin, signer.publicKey).vkey
const witnessVkey = newVerifier('witness.example', witness.publicKey, 'cosignature/v1').vkey
const runs = [1001, 1002, 1003].map((number) => makeRun(number))
/** More than a full tile of leaves, most of them of runs before the time of the export. */
const others = 300
const whole = join(home, 'whole')
const single = join(home, 'single')
const trusted = { keys: [vkey, witnessVkey] }

beforeAll(async () => {
  await writeExport(whole, runs, { signer, witness, others })
  await writeExport(single, runs, { signer, witness, others, only: idOf(1) })
})
afterAll(() => rmSync(home, { recursive: true }))

function idOf(i: number): string {
  return runs[i]?.id ?? ''
}

const journal = (i: number) => `runs/${idOf(i)}.jsonl`
const codes = ({ findings }: ExportVerification) => [...new Set(findings.map(({ code }) => code))].sort()

/** Verifies a copy after a change; the manifest is made to fit, unless told otherwise. */
function after(
  change: (folder: string) => void,
  { from = whole, reseal = true, ...options }: { from?: string; reseal?: boolean } & VerifyOptions = {},
): ExportVerification {
  const folder = join(home, 'copy')
  rmSync(folder, { recursive: true, force: true })
  cpSync(from, folder, { recursive: true })
  change(folder)
  if (reseal) sealFolder(folder)
  return verifyExport(folder, { ...trusted, ...options })
}

/** Changes the lines of a journal, and what the manifest counts of it. */
function edit(i: number, change: (lines: string[]) => string[]): (folder: string) => void {
  return (folder) => {
    const file = join(folder, journal(i))
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
    const changed = change(lines)
    writeFileSync(file, changed.map((line) => `${line}\n`).join(''))
    const manifest = readManifest(folder)
    sealFolder(folder, { ...manifest, entries: Number(manifest.entries) + changed.length - lines.length })
  }
}

const about = (i: number, seq: number, code: string) =>
  expect.objectContaining({
    code,
    file: journal(i),
    run: idOf(i),
    seq,
    message: expect.stringContaining(`entry ${seq}`),
  })

describe('an export that nobody has changed', () => {
  it.each([0, 1, 2, 255, 256, 257, 600])('verifies after %i other leaves', async (others) => {
    const folder = join(home, 'size')
    await writeExport(folder, runs, { signer, witness, others })
    expect(verifyExport(folder, trusted)).toMatchObject({
      ok: true,
      findings: [],
      notes: [],
      size: others + 6,
      runs: 3,
    })
    await writeExport(folder, runs, { signer, witness, others, only: idOf(0) })
    expect(verifyExport(folder, trusted)).toMatchObject({ ok: true, findings: [], runs: 1 })
  })

  it('of any runs verifies', () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 6 }), { maxLength: 5 }), async (steps) => {
        const folder = join(home, 'any')
        await writeExport(
          folder,
          steps.map((count, i) => makeRun(5000 + i, count)),
          { signer },
        )
        expect(verifyExport(folder, { keys: [vkey] })).toMatchObject({ ok: true, findings: [], runs: steps.length })
      }),
      { seed: 1, numRuns: 25 },
    ))

  it('and one that somebody has are found to be the same by any number of threads', async () => {
    const folder = join(home, 'threads')
    const many = Array.from({ length: 7 }, (_, i) => makeRun(7000 + i, i))
    await writeExport(folder, many, { signer })
    const inThreads = () => [1, 2, 5, 20].map((threads) => verifyExport(folder, { keys: [vkey], threads }))
    const [alone, ...others] = inThreads()
    expect(alone).toMatchObject({ ok: true, runs: 7 })
    for (const other of others) expect(other).toEqual(alone)
    for (const i of [0, 3, 6]) {
      const file = join(folder, 'runs', `${many[i]?.id}.jsonl`)
      writeFileSync(file, `${readFileSync(file, 'utf8').replace('"type', '"tipe')}x`)
    }
    const [found, ...same] = inThreads()
    const files = [0, 3, 6].map((i) => `runs/${many[i]?.id}.jsonl`)
    expect(new Set(found?.findings.map(({ file }) => file))).toEqual(new Set([...files, 'manifest.json']))
    for (const one of same) expect(one).toEqual(found)
  })

  it('says in words what was checked, and what that does not prove', () => {
    const text = summaryOf(verifyExport(whole, trusted))
    expect(text).toContain('Tenant acme, ledger log.example/acme')
    expect(text).toContain('witness witness.example, 2023-11-14T22:13:20.000Z')
    expect(text).toContain('6 email')
    expect(text).toContain('RESULT: NOTHING IS WRONG')
    expect(text).toContain('WHAT THIS DOES NOT PROVE')
  })

  it('may have content that was erased, and runs that the ledger does not have', async () => {
    const [first, ...rest] = runs
    const erased = { ...first, entries: first?.entries.map(({ content: _, ...entry }) => entry) ?? [] } as MadeRun // of one that is there
    const folder = join(home, 'erased')
    const exported = async (...records: object[]) => {
      const book = makeBook(records)
      const sealed = [...runs, book]
      await writeExport(folder, [erased, ...rest, makeRun(1004), book], { signer, sealed })
      return verifyExport(folder)
    }
    const right = await exported({ action: 'erasure.done', about: { run: erased.id } })
    expect(right).toMatchObject({ ok: true, erased: 4, runs: 4 })
    expect(right.notes.join()).toContain(`runs/${makeRun(1004).id}.jsonl: is not in the ledger`)
    const ofAll = { action: 'key.destroyed', about: { tenant: true } }
    expect(await exported(ofAll, { ...ofAll, at: Date.now() })).toMatchObject({ ok: true })
    // An erasure that is under way reaches what began while servers did not refuse it yet.
    const asked = { action: 'erasure.requested', about: { tenant: true } }
    expect(await exported({ ...asked, at: 1_001_000 - 3000 })).toMatchObject({ ok: true })
    const byRule = { action: 'retention.expired', about: { what: 'content', runs: { [erased.id]: 4 } } }
    expect(await exported(byRule)).toMatchObject({ ok: true })
    // Of another run, before it was begun, or of nothing: somebody took it away.
    for (const record of [
      { action: 'erasure.done', about: { run: rest[0]?.id } },
      { ...ofAll, at: 1 },
      { action: 'content.read', about: { run: erased.id } },
    ])
      expect((await exported(record)).findings).toMatchObject([{ code: 'content-removed', run: erased.id }])
    // Nor does a record count that the ledger does not have: whoever has the folder can write one.
    const read = { action: 'content.read', about: { run: erased.id } }
    const [known, book] = [[read], [read, byRule]].map(makeBook) as [MadeRun, MadeRun]
    await writeExport(folder, [erased, ...rest, book], { signer, sealed: [...runs, known] })
    expect(verifyExport(folder).findings).toMatchObject([{ code: 'content-removed', run: erased.id }])
  })
})

describe('a changed byte', () => {
  it('is found in any file, wherever it is, and the file is named', () => {
    const names = filesIn(whole)
    expect(names.length).toBeGreaterThan(14)
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.nat(), fc.integer({ min: 1, max: 255 }), (name, place, by) => {
        const result = after(
          (folder) => {
            const bytes = readFileSync(join(folder, name))
            const at = place % bytes.length
            bytes[at] = (bytes[at] ?? 0) ^ by
            writeFileSync(join(folder, name), bytes)
          },
          { reseal: false },
        )
        expect(result.ok).toBe(false)
        const named = name === 'manifest.sha256' ? 'manifest.json' : name
        expect(result.findings.map(({ file }) => file)).toContain(named)
      }),
      { seed: 3, numRuns: 300, examples: names.map((name) => [name, 0, 1]) },
    )
  })

  it('is found in what is proven even where the manifest was made to fit', () => {
    const names = filesIn(whole).filter((name) => /^(runs|receipts|tile|checkpoint)/.test(name))
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.nat(), fc.integer({ min: 1, max: 255 }), (name, place, by) => {
        const result = after((folder) => {
          const bytes = readFileSync(join(folder, name))
          const at = place % bytes.length
          bytes[at] = (bytes[at] ?? 0) ^ by
          writeFileSync(join(folder, name), bytes)
        })
        // A signature whose signer's name was changed is one of somebody unknown: that is said, and is no breach.
        expect(result.ok && result.notes.length === 0, name).toBe(false)
      }),
      { seed: 4, numRuns: 300 },
    )
  })

  it('is found where a file is missing, or is one more', () => {
    fc.assert(
      fc.property(fc.constantFrom(...filesIn(whole)), (name) => {
        const removed = after((folder) => unlinkSync(join(folder, name)), { reseal: false })
        expect(removed.findings.map(({ file }) => file)).toContain(name === 'manifest.sha256' ? 'manifest.json' : name)
      }),
      { seed: 5, numRuns: 30 },
    )
    const added = after((folder) => writeFile(folder, 'runs/extra.txt', ''), { reseal: false })
    expect(added.findings).toEqual([expect.objectContaining({ code: 'file-added', file: 'runs/extra.txt' })])
  })
})

/** What stands in entries, and in its place what is JSON of another meaning, or nearly JSON. `§` is a byte that is no UTF-8. */
const NEARLY: Record<string, readonly string[]> = {
  '"v":1': [
    '"v":01',
    '"v":1.',
    '"v":-',
    '"v":.5',
    '"v":1e0',
    '"v":-0.0',
    '"v":tru',
    '"v" :1',
    '"v":[1}',
    '"v":[1,]',
    '"v"',
  ],
  '"v"': [
    'v',
    '""',
    '"v\u0001"',
    '"v\u007f"',
    '"v§"',
    '"ä"',
    '"\\u0076"',
    '"v":1,1',
    '"v":1,"w"',
    '"redacted":{"email":1},"v"',
  ],
  '"seq":': [
    '"seq":0',
    '"seq":1,"seq":',
    '"sequ":',
    '"seq":[],"s":',
    '"content":"","seq":',
    '"type":"run.ended","seq":',
  ],
  '"step.ended"': ['"run.ended"', '"step.intent"', '"run.created"', 'null', '["step.ended"]'],
  '"allow"': ['"deny"', '"allow","effect":"deny"', 'true', '"\\u0061llow"'],
  '"}': ['x"}', '"]', '" }'],
  '{}': ['{,}', '{]', '{{}}', '{"a":}', '[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]', '[', '"a":{}', ' {}'],
  '"b': ['"B', '["b', '"ä'],
  '"content":"': ['"content": "', '"content":"a', '"content":1,"c":"', '"contend":"', '"content":["', '"Content":"'],
  '"hash":"': ['"hash":"f', '"hash": "', '"Hash":"', '"x":1,"hash":"'],
  '\\"': ['"', '\\\\"', '\\u0022', '\\n', '\\a', '\\\\\\"'],
  '\\\\': ['\\n', '\\u005c', '\\', '\\/', 'n'],
  '}': ['', '}}', '},', ']', '}x', ',"x":1}', '}\n', '} '],
  ä: ['ä\\'],
  a: ['§', '\u{1f600}', '\n', '\t', '\u2028', '\\'],
}
const PAIRS = Object.entries(NEARLY).flatMap(([from, all]) => all.map((to) => [from, to] as const))

describe('a line of a journal', () => {
  it('is told of by the quick way only where the slow way has nothing to tell either', async () => {
    const source = readFileSync(new URL(import.meta.resolve('@muster/verify')), 'utf8')
    const call = 'quick.read(lines, at, seq, before)'
    expect(source).toContain(call)
    writeFileSync(join(home, 'slow.mjs'), source.replace(call, '0'))
    const slow: { verifyExport: typeof verifyExport } = await import(join(home, 'slow.mjs'))
    const folder = join(home, 'lines')
    const run = makeRun(1010)
    await writeExport(folder, [run], { signer })
    const intent = { type: 'step.intent', labels: [] }
    const allowed = { decision: { effect: 'allow', policies: ['ä'], set: 'b'.repeat(64) } }
    const asked = { type: 'step.waiting', decision: { effect: 'ask', set: 'c'.repeat(64) } }
    // Decisions that are like the one before, and others.
    const kinds = [
      { ...intent, ...allowed },
      { type: 'step.ended', costUsd: -0.25, usage: { of: [{}, [], true, [null, 0]] } },
      asked,
      { type: 'step.ended', ключ: '\\ "' },
      { ...asked, attempt: 2 },
      { ...intent, ...allowed, attempt: 2 },
    ]
    const raw = (text: string) => Buffer.from(Buffer.from(text).toString('latin1').replaceAll('Â§', 'ÿ'), 'latin1')
    const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
    const wounds = fc.record({
      line: fc.nat({ max: 19 }),
      where: fc.constantFrom('bytes', 'content', 'line'),
      pair: fc.constantFrom(...PAIRS),
      /** Which of the places where it stands. */
      nth: fc.nat({ max: 3 }),
    })
    fc.assert(
      fc.property(fc.array(wounds, { minLength: 1, maxLength: 2 }), (wounds) => {
        let hash = genesis(run.id)
        const lines = Array.from({ length: 20 }, (_, i) => {
          const at = (here: string, text: string) =>
            wounds
              .filter(({ line, where }) => line === i && where === here)
              .reduce((text, { pair: [from, to], nth }) => {
                const parts = text.split(from)
                const place = Math.min(nth + 1, parts.length - 1)
                return place === 0 ? text : parts.slice(0, place).join(from) + to + parts.slice(place).join(from)
              }, text)
          const entry = i === 0 ? { type: 'run.created', run: run.id, tenant: 'acme' } : kinds[i % kinds.length]
          const content = i % 2 === 0 ? at('content', `salt${JSON.stringify({ text: 'a "b"\n\\än' })}`) : undefined
          const digest = content === undefined ? {} : { content: sha256(raw(content)) }
          const bytes = at('bytes', JSON.stringify({ v: 1, seq: i + 1, ...entry, ...digest }))
          hash = sha256(Buffer.concat([Buffer.from(hash), raw(bytes)]))
          return at('line', JSON.stringify({ seq: i + 1, hash, bytes, content: i % 8 === 6 ? undefined : content }))
        })
        writeFile(folder, `runs/${run.id}.jsonl`, raw(`${lines.join('\n')}\n`))
        const found = verifyExport(folder, { threads: 1 })
        expect(found).toEqual(slow.verifyExport(folder, { threads: 1 }))
      }),
      {
        seed: 10,
        numRuns: 800,
        examples: [
          ...[['"}', 'x"}'] as const, ['"v":1', '"v":1,1'] as const].map(
            (pair): [{ line: number; where: string; pair: readonly [string, string]; nth: number }[]] => [
              [{ line: 2, where: 'bytes', pair, nth: 3 }],
            ],
          ),
        ],
      },
    )
  })
})

describe('a journal whose manifest was made to fit', () => {
  const place = fc.integer({ min: 1, max: 8 })

  it('from which an entry was removed', () =>
    fc.assert(
      fc.property(place, (seq) => {
        const { findings } = after(edit(1, (lines) => lines.toSpliced(seq - 1, 1)))
        // The last one leaves no gap: what the ledger has of it does.
        expect(findings).toContainEqual(about(1, seq, seq === 8 ? 'run-cut' : 'entry-removed'))
        // The first entry also says what was redacted.
        const others = findings.filter(({ code }) => code !== 'manifest')
        expect(others.every(({ run }) => run === idOf(1))).toBe(true)
      }),
      { seed: 6, numRuns: 20 },
    ))

  it('in which an entry stands twice', () =>
    fc.assert(
      fc.property(place, fc.nat({ max: 8 }), (seq, to) => {
        const { findings } = after(edit(1, (lines) => lines.toSpliced(Math.max(to, seq), 0, lines[seq - 1] ?? '')))
        expect(findings).toEqual([about(1, seq, 'entry-duplicated')])
      }),
      { seed: 7, numRuns: 30 },
    ))

  it('in which an entry was moved', () =>
    fc.assert(
      fc.property(place, place, (seq, to) => {
        fc.pre(seq !== to)
        const moved = edit(1, (lines) => lines.toSpliced(seq - 1, 1).toSpliced(to - 1, 0, lines[seq - 1] ?? ''))
        const { findings } = after(moved)
        expect(findings.map(({ code }) => code)).toContain('entry-reordered')
        expect(findings.every(({ file }) => file === journal(1))).toBe(true)
        if (seq < to) expect(findings).toContainEqual(about(1, seq, 'entry-reordered'))
      }),
      { seed: 8, numRuns: 30 },
    ))

  it('to which an entry was added', () =>
    fc.assert(
      fc.property(place, (seq) => {
        const forged: StoredEntry = { seq, hash: 'e'.repeat(64), bytes: `{"v":1,"seq":${seq},"type":"run.parked"}` }
        const { findings } = after(edit(1, (lines) => lines.toSpliced(seq, 0, JSON.stringify(forged))))
        expect(findings).toEqual([about(1, seq, 'entry-added')])
        const tail = { ...forged, seq: 9, bytes: '{"v":1,"seq":9,"type":"run.parked"}' }
        expect(after(edit(1, (lines) => [...lines, JSON.stringify(tail)])).findings).toContainEqual(about(1, 9, 'run'))
      }),
      { seed: 9, numRuns: 30 },
    ))

  it('or a book, to which something was added at a place before the first', async () => {
    const forged = (entry: object) =>
      JSON.stringify({ seq: -5, hash: 'e'.repeat(64), bytes: JSON.stringify({ v: 1, seq: -5, ...entry }) })
    const { findings } = after(edit(1, (lines) => lines.toSpliced(3, 0, forged({ type: 'run.parked' }))))
    expect(findings).toEqual([expect.objectContaining({ code: 'entry-changed', run: idOf(1), seq: 4 })])
    // A record that no chain has excuses no run that was dropped.
    const folder = join(home, 'before')
    const book = makeBook([{ action: 'stop.set', about: {} }])
    const kept = [...runs.slice(0, 2), book]
    await writeExport(folder, kept, { signer, others, sealed: [...runs, book] })
    const about = { what: 'run', runs: { [idOf(2)]: 8 } }
    const record = forged({ tenant: 'acme', action: 'retention.expired', about })
    appendFileSync(join(folder, 'records.jsonl'), `${record}\n`)
    sealFolder(folder, { ...readManifest(folder), records: 2 })
    expect(codes(verifyExport(folder, { keys: [vkey] }))).toEqual(['entry-changed', 'run-missing'])
  })

  it('that was written anew with every hash right, or is that of another run', () => {
    const anew = (id: string) =>
      chainOf(id, runs[1]?.entries.map(({ bytes }) => withoutPlace(bytes, 'world.paid')) ?? []).map((entry) =>
        JSON.stringify(entry),
      )
    const { findings } = after(edit(1, () => anew(idOf(1))))
    expect(findings).toContainEqual(about(1, 2, 'run-rewritten'))
    expect(findings).toContainEqual(about(1, 8, 'run-rewritten'))
    expect(codes({ ...verifyExport(whole), findings })).toEqual(['run-rewritten'])
    const swapped = after(edit(1, () => runs[2]?.entries.map((entry) => JSON.stringify(entry)) ?? []))
    expect(swapped.findings).toContainEqual(about(1, 1, 'entry-changed'))
  })

  it('whose content was changed, or put there', () => {
    const change = (seq: number, content: string) =>
      edit(1, (lines) =>
        lines.map((line, i) => (i === seq - 1 ? JSON.stringify({ ...JSON.parse(line), content }) : line)),
      )
    expect(after(change(3, 'x'.repeat(30))).findings).toEqual([about(1, 3, 'content-changed')])
    expect(after(change(2, 'x'.repeat(30))).findings).toEqual([about(1, 2, 'content-added')])
    // Half a character, which UTF-8 does not have, is hashed as U+FFFD is.
    const half = edit(1, (lines) => lines.map((line, i) => (i === 2 ? line.replace('\u{fffd}', '\\ud800') : line)))
    expect(after(half).findings).toEqual([expect.objectContaining({ code: 'entry-changed', run: idOf(1), seq: 3 })])
  })

  it('in which an effect has no decision that allows it', async () => {
    const bad = makeRun(1002)
    const denied = bad.entries.map(({ bytes }) => withoutPlace(bytes, 'world.write', 'deny'))
    const folder = join(home, 'denied')
    await writeExport(folder, [{ ...bad, entries: chainOf(bad.id, denied) }], { signer })
    expect(codes(verifyExport(folder))).toEqual(['effect-without-allow'])
  })
})

function withoutPlace(bytes: string, target: string, effect = 'allow'): object {
  const { v: _, seq: __, content: ___, ...entry } = JSON.parse(bytes)
  return {
    ...entry,
    ...(entry.target ? { target } : {}),
    ...(entry.decision ? { decision: { ...entry.decision, effect } } : {}),
  }
}

describe('a run', () => {
  it('that was dropped is named, from the ledger', () => {
    const { findings } = after((folder) => {
      unlinkSync(join(folder, journal(2)))
      unlinkSync(join(folder, `receipts/${idOf(2)}`))
      sealFolder(folder, { ...readManifest(folder), runs: 2, entries: 16, redacted: { email: 4 } })
    })
    expect(findings).toEqual([expect.objectContaining({ code: 'run-missing', run: idOf(2) })])
  })

  it('that a sealed record says has expired is told, and no other is excused by that', async () => {
    const expired = { action: 'retention.expired', about: { rule: 1, what: 'run', runs: { [idOf(2)]: 8 } } }
    const without = async (records: object[], sealedAt = records.length) => {
      const folder = join(home, 'expired')
      const book = { ...makeBook(records), sealedAt: [sealedAt] }
      await writeExport(
        folder,
        [runs[0], runs[1], book].flatMap((run) => run ?? []),
        {
          ...{ signer, others, sealed: [...runs, book] },
        },
      )
      return verifyExport(folder, { keys: [vkey] })
    }
    const { findings, notes, actions } = await without([expired])
    expect(findings).toEqual([])
    expect(actions).toEqual({ 'retention.expired': 1 })
    expect(notes).toContainEqual(`run ${idOf(2)}: expired by a rule of retention, says record 1 of records.jsonl`)
    const other = { ...expired, about: { ...expired.about, runs: { [idOf(1)]: 8 } } }
    const bare = { ...expired, about: { ...expired.about, what: 'content' } }
    for (const book of [[other], [bare]])
      expect((await without(book)).findings).toMatchObject([{ code: 'run-missing', run: idOf(2) }])
    // Written after the ledger's last leaf of the book: by whoever has the folder.
    expect((await without([other, expired], 1)).findings).toMatchObject([{ code: 'run-missing', run: idOf(2) }])
  })

  it('that was added is named, unless the manifest says that it is not in the ledger', async () => {
    const folder = join(home, 'added')
    const added = makeRun(1009)
    await writeExport(folder, [...runs, added], { signer, sealed: runs })
    sealFolder(folder, { ...readManifest(folder), unsealed: [] })
    expect(verifyExport(folder).findings).toEqual([expect.objectContaining({ code: 'run-unproven', run: added.id })])
  })

  it('is not hidden by a scope that leaves it out: its file is one too many', () => {
    const narrow = (folder: string) =>
      sealFolder(folder, { ...readManifest(folder), scope: { kind: 'range', since: 1_002_000 } })
    expect(after(narrow).findings).toEqual([expect.objectContaining({ code: 'run', run: idOf(0) })])
    // One that does not say what it leaves out is none.
    const hidden = { kind: 'tenant', since: 1_002_000 }
    expect(codes(after((folder) => sealFolder(folder, { ...readManifest(folder), scope: hidden })))).toContain(
      'manifest',
    )
    // And who was told the fingerprint finds any change of what the manifest says.
    const fingerprint = verifyExport(whole).fingerprint ?? ''
    expect(verifyExport(whole, { ...trusted, fingerprint }).ok).toBe(true)
    expect(codes(after(narrow, { fingerprint }))).toContain('fingerprint')
  })
})

describe('the ledger', () => {
  it('that another key has signed is named, though all else fits', async () => {
    const folder = join(home, 'forged')
    await writeExport(folder, runs, { signer: newSigner(), others })
    expect(verifyExport(folder)).toMatchObject({ ok: true, notes: [expect.stringContaining('from the export itself')] })
    const { findings } = verifyExport(folder, trusted)
    expect(findings).toEqual([expect.objectContaining({ code: 'signature', file: 'checkpoint' })])
  })

  it('whose signature is of something else is named', () => {
    const { findings } = after((folder) => {
      const file = join(folder, 'checkpoint')
      writeFileSync(file, readFileSync(file, 'utf8').replace(/\n306\n/, '\n305\n'))
    })
    expect(findings).toContainEqual(
      expect.objectContaining({ code: 'signature', message: expect.stringContaining('is wrong') }),
    )
  })

  it('that is another than an older checkpoint says was forked, or rolled back', async () => {
    const older = async (runs: readonly MadeRun[], others: number) => {
      const folder = join(home, 'older')
      await writeExport(folder, runs, { signer, others })
      const file = join(home, `older-${others}`)
      writeFileSync(file, readFileSync(join(folder, 'checkpoint')))
      return verifyExport(whole, { ...trusted, older: [file] })
    }
    for (const size of [0, 1, 100, 255, 256, 257, 300]) expect(await older([], size)).toMatchObject({ ok: true })
    expect(codes(await older(runs, 300))).toEqual([])
    expect(codes(await older(runs, 200))).toEqual(['fork'])
    expect(codes(await older(runs, 301))).toEqual(['rollback'])
    const stranger = join(home, 'stranger')
    await writeExport(join(home, 'older'), [], { signer: newSigner(), others: 10 })
    writeFileSync(stranger, readFileSync(join(home, 'older', 'checkpoint')))
    expect(codes(verifyExport(whole, { ...trusted, older: [stranger] }))).toEqual(['signature'])
  })

  it('with leaves that were swapped, changed or dropped does not have the root that is signed', async () => {
    const folder = join(home, 'reordered')
    for (const changed of [[...runs].reverse(), runs.slice(1), [...runs, makeRun(1004)]]) {
      await writeExport(folder, changed, { signer, others })
      const { findings } = after((copy) => {
        for (const name of filesIn(copy)) if (name.startsWith('tile/')) unlinkSync(join(copy, name))
        for (const name of filesIn(folder))
          if (name.startsWith('tile/')) writeFile(copy, name, readFileSync(join(folder, name)))
      })
      expect(findings).toContainEqual(expect.objectContaining({ code: 'tree', file: 'checkpoint' }))
    }
  })
})

describe('a receipt', () => {
  it('that belongs to another run is named', () => {
    for (const from of [whole, single]) {
      const { findings } = after(
        (folder) => writeFile(folder, `receipts/${idOf(1)}`, readFileSync(join(whole, `receipts/${idOf(0)}`))),
        { from },
      )
      expect(findings).toContainEqual(
        expect.objectContaining({
          code: 'receipt',
          run: idOf(1),
          message: expect.stringContaining('does not belong to run'),
        }),
      )
    }
  })

  it('that an auditor kept is of a run of the export, and of its ledger', async () => {
    const kept = join(home, 'kept')
    writeFileSync(kept, readFileSync(join(whole, `receipts/${idOf(0)}`)))
    expect(verifyExport(whole, { ...trusted, receipts: [kept] }).ok).toBe(true)
    expect(codes(verifyExport(single, { ...trusted, receipts: [kept] }))).toEqual(['receipt'])
    const folder = join(home, 'elsewhere')
    await writeExport(folder, runs.toReversed(), { signer, others: 299 })
    writeFileSync(kept, readFileSync(join(folder, `receipts/${idOf(0)}`)))
    expect(codes(verifyExport(whole, { ...trusted, receipts: [kept] }))).toEqual(['fork'])
  })

  it('that proves nothing is named', () => {
    const { findings } = after((folder) => {
      const file = join(folder, `receipts/${idOf(0)}`)
      writeFileSync(file, readFileSync(file, 'utf8').replace(/^index \d+$/m, 'index 3'))
    })
    expect(findings).toEqual([
      expect.objectContaining({ code: 'receipt', message: expect.stringContaining('does not prove') }),
    ])
  })
})

describe('a manifest that its exporter signed', () => {
  const exporter = newSigner()
  const exporterKeys = [newVerifier(`${origin}/exports`, exporter.publicKey).vkey]
  const signed = join(home, 'signed')
  const [only] = exporterKeys
  const wrong = (result: ExportVerification) => result.findings.map(({ code, file }) => `${code} ${file}`)

  beforeAll(() => writeExport(signed, runs, { signer, witness, others, exporter }))

  it('verifies with the key of its exporter, and without it is said to be by somebody unknown', () => {
    const [name, id] = only?.split('+') ?? []
    const known = verifyExport(signed, { ...trusted, exporterKeys })
    expect(known).toMatchObject({ ok: true, notes: [], exporters: [{ name, id }] })
    expect(summaryOf(known)).toContain(`Export signed by: ${name} (${id})`)
    const unknown = verifyExport(signed, trusted)
    expect(unknown).toMatchObject({ ok: true, exporters: [], notes: [expect.stringContaining(`${name} (${id})`)] })
  })

  it('has an app beside policies that no worker said it decided for, though the manifest was made to fit', async () => {
    const folder = join(home, 'apps')
    const set = 'a'.repeat(64)
    const used = (app?: string) => ({ action: 'policy.used', about: { set, ...(app === undefined ? {} : { app }) } })
    const verified = async (records: object[], sealedAt: number, declassifies: string[]) => {
      const book = { ...makeBook(records), sealedAt: [sealedAt] }
      await writeExport(folder, [...runs, book], { signer })
      const app = { tools: [{ name: 'x', declassifies }], hash: 'h', definitions: [] }
      writeFile(folder, `policies/${set}.json`, JSON.stringify({ hash: set, app }, null, 2))
      sealFolder(folder)
      const { findings, notes } = verifyExport(folder, { keys: [vkey] })
      return {
        codes: findings.map(({ code, file }) => `${code} ${file}`),
        said: !notes.join().includes('of the apps of'),
      }
    }
    const text = '{"definitions":[],"hash":"h","tools":[{"declassifies":["pii"],"name":"x"}]}'
    const pii = createHash('sha256').update(text).digest('hex')
    const other = createHash('sha256').update(text.replace('pii', 'any')).digest('hex')
    expect(await verified([used(pii)], 1, ['pii'])).toEqual({ codes: [], said: true })
    expect(await verified([used(other), used(pii)], 2, ['pii'])).toEqual({ codes: [], said: true })
    const changed = { codes: [`policy-changed policies/${set}.json`], said: true }
    expect(await verified([used(pii)], 1, ['any'])).toEqual(changed)
    // Written after the ledger's last leaf of the book: by whoever has the folder.
    expect(await verified([used(pii), used(other)], 1, ['any'])).toEqual(changed)
    // Of earlier versions, or not in the ledger yet.
    expect(await verified([used(pii), used()], 2, ['any'])).toEqual({ codes: [], said: false })
    expect(await verified([{ action: 'stop.set', about: {} }, used(pii)], 1, ['pii'])).toEqual({
      codes: [],
      said: false,
    })
  })

  it('was changed where policies, the scope or the time are not what was signed, though the manifest was made to fit', () => {
    const changes: ((folder: string) => void)[] = [
      (folder) => writeFile(folder, `policies/${'a'.repeat(64)}.json`, '{"changed":true}\n'),
      (folder) => sealFolder(folder, { ...readManifest(folder), exportedAt: '2026-11-29T00:00:00.000Z' }),
      (folder) => sealFolder(folder, { ...readManifest(folder), scope: { kind: 'range', since: 1 } }),
    ]
    for (const change of changes) {
      const all = (folder: string) => {
        change(folder)
        unlinkSync(join(folder, 'manifest.sig'))
        sealFolder(folder)
      }
      // Whether the old signature is taken out or stays there.
      expect(wrong(after(all, { from: signed, exporterKeys }))).toContain('signature manifest.sig')
      const kept = (folder: string) => {
        all(folder)
        writeFile(folder, 'manifest.sig', readFileSync(join(signed, 'manifest.sig')))
      }
      expect(wrong(after(kept, { from: signed, reseal: false }))).toContain('signature manifest.sig')
    }
  })

  it('is not one that another key has signed, or of which a byte was changed', async () => {
    const folder = join(home, 'stranger-signed')
    await writeExport(folder, runs, { signer, witness, others, exporter: newSigner() })
    expect(wrong(verifyExport(folder, { ...trusted, exporterKeys }))).toEqual(['signature manifest.sig'])
    expect(wrong(verifyExport(whole, { ...trusted, exporterKeys }))).toEqual(['signature manifest.sig'])
    // The ledger's own key, under its own name, is not the exporter's.
    expect(wrong(verifyExport(signed, { ...trusted, exporterKeys: [vkey] }))).toEqual(['signature manifest.sig'])
    expect(wrong(verifyExport(signed, { ...trusted, exporterKeys: ['none'] }))).toContain('signature --exporter-key')
    const bytes = readFileSync(join(signed, 'manifest.sig'))
    fc.assert(
      fc.property(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (place, by) => {
        const changed = Buffer.from(bytes)
        changed[place] = (changed[place] ?? 0) ^ by
        const write = (folder: string) => writeFileSync(join(folder, 'manifest.sig'), changed)
        expect(wrong(after(write, { from: signed, reseal: false, exporterKeys }))).toContain('signature manifest.sig')
      }),
      { seed: 10, numRuns: 100 },
    )
  })
})

describe('what is no export', () => {
  it('is told apart from one that is broken', () => {
    expect(() => verifyExport(join(home, 'nowhere'))).toThrow(NotAnExport)
    expect(() => verifyExport(join(whole, 'runs'))).toThrow(NotAnExport)
    expect(codes(after((folder) => unlinkSync(join(folder, 'manifest.json')), { reseal: false }))).toContain(
      'file-removed',
    )
  })
})
