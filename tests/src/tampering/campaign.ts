import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ExportFinding, type ExportVerification, type VerifyOptions, verifyExport } from '@muster/verify'
import { Random } from '../../faults/src/random.ts'
import { type Files, writeFile } from '../export-fixture.ts'
import { type Genuine, genuineExports, trusted } from './exports.ts'
import { type Hit, type Kind, kinds } from './kinds.ts'

export interface CampaignOptions {
  seed: number
  count: number
  verify?: (folder: string, options: VerifyOptions) => ExportVerification
}

export interface Tally {
  kind: string
  count: number
  found: number
  named: number
}

/** A tampering that was not found, or that something else was found of. */
interface Miss {
  /** A campaign of one with this seed does the same again. */
  seed: number
  kind: string
  hit: Hit
  findings: ExportFinding[]
}

/** Tampers with exports, in each way in turn and as its seed gives, and looks whether it is found and named. */
export async function tamperOften({ seed, count, verify = verifyExport }: CampaignOptions) {
  const genuine = await genuineExports()
  const bench = new Bench()
  const tallies = new Map<string, Tally>(kinds.map(({ name }) => [name, { kind: name, count: 0, found: 0, named: 0 }]))
  const misses: Miss[] = []
  try {
    for (const of of genuine) {
      const { findings, notes } = bench.judge(of, of.files, { verify })
      if (findings.length + notes.length > 0)
        throw new Error(`a genuine export has ${JSON.stringify({ findings, notes })}`)
    }
    for (let i = 0; i < count; i++) {
      const { kind, of, files, hit } = await tamper(genuine, seed + i)
      const result = bench.judge(of, files, { ...kind, ...hit, verify })
      const tally = tallies.get(kind.name)
      const named = isNamed(result.findings, kind, hit)
      if (tally) {
        tally.count++
        if (!result.ok) tally.found++
        if (named) tally.named++
      }
      if (result.ok || !named) misses.push({ seed: seed + i, kind: kind.name, hit, findings: result.findings })
    }
  } finally {
    bench.close()
  }
  return { tallies: [...tallies.values()], misses }
}

/** Until something has changed: not every export has what the kind changes. */
async function tamper(genuine: readonly Genuine[], seed: number) {
  const random = new Random(seed)
  const kind = kinds[seed % kinds.length] as Kind // less than its length
  for (;;) {
    const of = random.pick(genuine)
    const files: Files = new Map(of.files)
    const hit = await kind.tamper(files, of, random)
    if (hit && (hit.link !== undefined || !isSame(files, of.files))) return { kind, of, files, hit }
  }
}

function isSame(one: Files, other: Files): boolean {
  return one.size === other.size && [...one].every(([name, bytes]) => isEqual(bytes, other.get(name)))
}

const isEqual = (one: Uint8Array, other: Uint8Array | undefined): boolean =>
  one === other || (other !== undefined && Buffer.compare(one, other) === 0)

function isNamed(findings: readonly ExportFinding[], { codes, beside = [] }: Kind, hit: Hit): boolean {
  const fits = ({ code, file, run, seq, leaf }: ExportFinding) =>
    codes.includes(code) &&
    (hit.file === undefined || (typeof hit.file === 'string' ? file === hit.file : hit.file.test(file))) &&
    (hit.run === undefined || run === hit.run) &&
    (hit.seq === undefined || seq === hit.seq) &&
    (hit.leaf === undefined || leaf === hit.leaf)
  const expected = ({ code }: ExportFinding) => beside === 'any' || codes.includes(code) || beside.includes(code)
  return findings.some(fits) && findings.every(expected)
}

/** Where exports are laid out, in memory where there is a place for that: only what differs is written. */
class Bench {
  readonly #home = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'muster-tampering-'))
  readonly #folders = new Map<Genuine, string>()

  judge(
    of: Genuine,
    files: Files,
    { kept, link, verify }: Pick<Kind, 'kept'> & Pick<Hit, 'link'> & Required<Pick<CampaignOptions, 'verify'>>,
  ): ExportVerification {
    const home = this.#folders.get(of) ?? this.#layOut(of)
    const folder = join(home, 'export')
    const changed = [...new Set([...files.keys(), ...of.files.keys()])].filter(
      (name) => files.get(name) === undefined || !isEqual(files.get(name) as Uint8Array, of.files.get(name)), // it is there
    )
    const put = (name: string, bytes: Uint8Array | undefined) => {
      rmSync(join(folder, name), { force: true })
      if (bytes) writeFile(folder, name, bytes)
    }
    for (const name of changed) put(name, files.get(name))
    if (link !== undefined) {
      rmSync(join(folder, link))
      symlinkSync(join(home, 'older'), join(folder, link))
    }
    try {
      return verify(folder, {
        keys: trusted,
        ...(kept === 'older' ? { older: [join(home, 'older')] } : {}),
        ...(kept === 'receipt' ? { receipts: [join(home, 'receipt')] } : {}),
        ...(kept === 'fingerprint' ? { fingerprint: of.kept.fingerprint } : {}),
      })
    } finally {
      for (const name of link === undefined ? changed : [...changed, link]) put(name, of.files.get(name))
    }
  }

  #layOut(of: Genuine): string {
    const home = join(this.#home, String(this.#folders.size))
    mkdirSync(home)
    for (const [name, bytes] of of.files) writeFile(join(home, 'export'), name, bytes)
    writeFileSync(join(home, 'older'), of.kept.older)
    writeFileSync(join(home, 'receipt'), of.kept.receipt)
    this.#folders.set(of, home)
    return home
  }

  close(): void {
    rmSync(this.#home, { recursive: true })
  }
}
