import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { openCheckpoint, parseCheckpoint } from './checkpoint.ts'
import {
  cosign,
  formatNote,
  formatSignature,
  newVerifier,
  parseNote,
  parseVerifier,
  type Signer,
  signNote,
  type Verifier,
  verifySignatures,
} from './note.ts'

/** Ed25519's DER prefix of a private key, before its 32 bytes. */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')

function signerOf(seed: Buffer): Signer {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' })
  const publicKey = Buffer.from(String(key.export({ format: 'jwk' }).x), 'base64url')
  return { publicKey, sign: async (message) => sign(null, message, key) }
}

function newSigner(): Signer {
  const { privateKey } = generateKeyPairSync('ed25519')
  return signerOf(Buffer.from(String(privateKey.export({ format: 'jwk' }).d), 'base64url'))
}

function known(vkey: string): Verifier {
  const verifier = parseVerifier(vkey)
  if (!verifier) throw new Error(`no vkey: ${vkey}`)
  return verifier
}

// Go's golang.org/x/mod/sumdb/note, note_test.go.
const peter = known('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW')
const peterSeed = Buffer.from('AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz', 'base64').subarray(1)
const enoch = known('EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop')
const text =
  'If you think cryptography is the answer to your problem,\n' + "then you don't know what your problem is.\n"
const peterLine =
  '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n'
const enochLine =
  '— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n'

function verified(note: string, keys: readonly Verifier[]): string[] | undefined {
  const parsed = parseNote(note)
  return parsed && verifySignatures(parsed, keys)?.map(({ vkey }) => vkey)
}

describe("Go's vectors (golang.org/x/mod/sumdb/note)", () => {
  it('a signature is the published one, byte for byte', async () => {
    const signature = await signNote(text, 'PeterNeumann', signerOf(peterSeed))
    expect(formatNote({ text, signatures: [signature] })).toBe(`${text}\n${peterLine}`)
  })

  it('signatures of known keys are verified, others ignored', () => {
    const note = `${text}\n${peterLine}${enochLine}`
    expect(verified(note, [peter])).toEqual([peter.vkey])
    expect(verified(note, [peter, enoch])).toEqual([peter.vkey, enoch.vkey])
    expect(verified(note, [])).toEqual([])
    expect(verified(`${text}\n${peterLine}${peterLine}`, [peter])).toEqual([peter.vkey])
  })

  it('a bad signature of a known key spoils the note', () => {
    const bad = `${peterLine.slice(0, 60)}ABCD${peterLine.slice(60)}`
    expect(verified(`${text}\n${bad}`, [peter])).toBeUndefined()
    expect(verified(`${text}\n${enochLine}${bad}`, [peter, enoch])).toBeUndefined()
    expect(verified(`${text}\n${enochLine}${bad}`, [enoch])).toEqual([enoch.vkey])
  })

  it('too many signatures are refused', () => {
    expect(parseNote(`${text}\n${peterLine.repeat(100)}`)).toBeDefined()
    expect(parseNote(`${text}\n${peterLine.repeat(101)}`)).toBeUndefined()
  })

  it('no part of a vkey and no change of one is a vkey', () => {
    const { vkey } = peter
    for (let i = 0; i < vkey.length; i++) {
      for (let j = i + 1; j <= vkey.length; j++) {
        if (j - i < vkey.length) expect(parseVerifier(vkey.slice(i, j))).toBeUndefined()
      }
      const changed = vkey.slice(0, i) + String.fromCharCode(vkey.charCodeAt(i) + 1) + vkey.slice(i + 1)
      expect(parseVerifier(changed)).toBeUndefined()
    }
    const longer = 'PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=='
    const unknownType = 'PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
    expect(parseVerifier(longer)).toBeUndefined()
    expect(parseVerifier(unknownType)).toBeUndefined()
  })
})

describe("C2SP's examples", () => {
  it('the note of signed-note verifies', () => {
    const key = known('example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k')
    const note =
      'This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n'
    expect(verified(note, [key])).toEqual([key.vkey])
    expect(verified(note.replace('example m', 'Example m'), [key])).toBeUndefined()
  })

  it('the checkpoint of tlog-checkpoint is read', () => {
    const note =
      'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n'
    const parsed = parseNote(note)
    expect(parsed?.signatures[0]).toMatchObject({ name: 'example.com/behind-the-sofa', keyId: '033de0ae' })
    expect(parseCheckpoint(parsed?.text ?? '')).toMatchObject({
      origin: 'example.com/behind-the-sofa',
      size: 20_852_163,
    })
  })
})

describe('a note', () => {
  it.each([
    ['no signature', text],
    ['no empty line', `${text}${peterLine}`],
    ['no final line feed', `${text}\n${peterLine.slice(0, -1)}`],
    ['a hyphen for the dash', `${text}\n${peterLine.replace('—', '-')}`],
    ['a control character', `${text}\t\n\n${peterLine}`],
    ['base64 that is not canonical', `${text}\n${peterLine.replace('=\n', '\n')}`],
    ['a name with a plus', `${text}\n${peterLine.replace('PeterN', 'Peter+N')}`],
    ['text after the signatures', `${text}\n${peterLine}more\n`],
  ])('is refused with %s', (_, note) => {
    expect(parseNote(note)).toBeUndefined()
  })

  it('keeps empty lines of its text', async () => {
    const signatures = [await signNote('a\n\nb\n', 'n', signerOf(peterSeed))]
    expect(parseNote(formatNote({ text: 'a\n\nb\n', signatures }))?.text).toBe('a\n\nb\n')
  })
})

describe('a checkpoint', () => {
  const origin = 'log.example/acme'
  const body = `${origin}\n7\n${'A'.repeat(43)}=\n`

  it('is trusted by a key of its log, old or new, and by no other', async () => {
    const [old, young, stranger] = [newSigner(), newSigner(), newSigner()]
    const signatures = [await signNote(body, origin, old), await signNote(body, origin, young)]
    const note = formatNote({ text: body, signatures })
    const keyOf = ({ publicKey }: Signer) => newVerifier(origin, publicKey)
    for (const one of [old, young]) {
      const { vkey } = keyOf(one)
      expect(openCheckpoint(note, origin, [keyOf(one)])).toMatchObject({ size: 7, verified: [{ vkey }] })
    }
    expect(openCheckpoint(note, origin, [keyOf(stranger)])).toBeUndefined()
    expect(openCheckpoint(note, 'log.example/other', [keyOf(old)])).toBeUndefined()
  })

  it('is cosigned with a time, which says nothing of the log without its own signature', async () => {
    const [log, witness] = [newSigner(), newSigner()]
    const [logKey, witnessKey] = [
      newVerifier(origin, log.publicKey),
      newVerifier('witness.example', witness.publicKey, 'cosignature/v1'),
    ]
    const cosignature = await cosign(body, 'witness.example', witness, 1_679_315_147)
    const both = formatNote({ text: body, signatures: [await signNote(body, origin, log), cosignature] })
    expect(openCheckpoint(both, origin, [logKey, witnessKey])?.verified).toEqual([
      { vkey: logKey.vkey },
      { vkey: witnessKey.vkey, at: 1_679_315_147 },
    ])
    const alone = formatNote({ text: body, signatures: [cosignature] })
    expect(openCheckpoint(alone, origin, [logKey, witnessKey])).toBeUndefined()
    const later = Buffer.from(cosignature.signature)
    later[7] = (later[7] ?? 0) ^ 1
    const moved = both.replace(formatSignature(cosignature), formatSignature({ ...cosignature, signature: later }))
    expect(openCheckpoint(moved, origin, [logKey, witnessKey])).toBeUndefined()
    expect(parseVerifier(witnessKey.vkey)).toMatchObject({ type: 'cosignature/v1', keyId: witnessKey.keyId })
  })

  it.each([
    ['a size with a zero before it', body.replace('\n7\n', '\n07\n')],
    ['a negative size', body.replace('\n7\n', '\n-7\n')],
    ['a size past what can be counted', body.replace('\n7\n', '\n9007199254740993\n')],
    ['a short root', body.replace('AAAA', '')],
    ['an extension', `${body}more\n`],
    ['no origin', body.replace(origin, '')],
    ['no end', body.slice(0, -1)],
  ])('is refused with %s', (_, wrong) => {
    expect(parseCheckpoint(body)).toBeDefined()
    expect(parseCheckpoint(wrong)).toBeUndefined()
  })
})
