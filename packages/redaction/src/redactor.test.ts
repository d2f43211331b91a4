import { type Json, MusterError, redactRules } from '@muster/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRedaction, createRedactor, type Redactor } from './redactor.ts'

const secret = 'a secret of at least thirty-two characters'
const everyKind = ['email', 'phone', 'iban', 'credit-card', 'ip-address', 'us-ssn', 'secret', 'employee-id']
const patterns = [{ kind: 'employee-id', pattern: 'E\\d{6}' }]
const asTokens = redactRules.parse({
  kinds: Object.fromEntries(everyKind.map((kind) => [kind, 'token'])),
  patterns,
  countries: ['US', 'DE'],
})
const masks = createRedactor(redactRules.parse({ patterns, countries: ['US', 'DE'] }))
const tokens = createRedactor(asTokens, { secret, tenant: 'acme' })

const values: Record<string, string[]> = {
  email: ['ann@example.com', 'jörg.müller@bücher.example.de', "o'brien+tag@mail.example.co.uk"],
  phone: ['+49 30 901820', '(202) 456-1111', '+1 202 456 1111', '0044 20 7946 0958'],
  iban: ['DE89 3704 0044 0532 0130 00', 'GB29NWBK60161331926819', 'de89370400440532013000'],
  'credit-card': ['4111 1111 1111 1111', '378282246310005', '5555-5555-5555-4444'],
  'ip-address': ['10.11.12.13', '2001:db8::8a2e:370:7334'],
  'us-ssn': ['123-45-6789'],
  secret: [
    `ghp_${'a1B2c3D4'.repeat(4)}abcd`,
    'AKIAIOSFODNN7EXAMPL3',
    `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.${'x'.repeat(43)}`,
    `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n'.repeat(8)}-----END PRIVATE KEY-----`,
  ],
  'employee-id': ['E123456'],
}

describe('redact', () => {
  it.each(Object.entries(values).flatMap(([kind, list]) => list.map((value) => [kind, value])))(
    'finds %s %s',
    (kind = '', value = '') => {
      const { value: text, found } = masks.redact(`Here: ${value}. And more`)
      expect(text).toBe(`Here: [${kind}]. And more`)
      expect(found).toEqual({ [kind]: 1 })
      const token = tokens.redact(`Here: ${value}. And more`).value
      expect(token).not.toContain(value)
      expect(tokens.restore(token, [kind])).toBe(`Here: ${value}. And more`)
    },
  )

  it.each([
    'order 4111111111111112 of 2024-05-01 12:30:45, version 1.2.3.4, v10.0.0.1',
    'b54f2a31-4111-4111-8111-1111a1b2c3d4 and 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    'std::vector<int> a = b @ c; 127.0.0.1 and ::1',
    'GB29NWBK60161331926818 has a wrong checksum, 000-12-3456 is never given out',
    'The basic arrangement of passwords: see the handbook',
  ])('leaves %s', (text) => {
    expect(masks.redact(text)).toEqual({ value: text, found: undefined })
  })

  it('walks lists, fields and their names, and gives the same object where nothing is found', () => {
    const clean: Json = { a: [1, 'two', null, { b: true }] }
    expect(masks.redact(clean).value).toBe(clean)
    expect(masks.redact({ 'ann@example.com': ['bob@example.com', 3] })).toEqual({
      value: { '[email]': ['[email]', 3] },
      found: { email: 2 },
    })
  })

  it('loses no field when names have the same mask', () => {
    const { value } = masks.redact({ 'ann@example.com': 1, 'bob@example.com': 2, x: 3 })
    expect(value).toEqual({ '[email]': 1, '[email] 2': 2, x: 3 })
    expect(masks.redact(value).value).toBe(value)
  })

  it('knows a secret by the name of its field', () => {
    expect(masks.redact({ user: 'ann', password: 'tr0ub4dor', nested: '{"apiKey": "plain words"}' }).value).toEqual({
      user: 'ann',
      password: '[secret]',
      nested: '{"apiKey": "[secret]"}',
    })
  })

  it('keeps texts that are JSON readable, to the byte where nothing is found', () => {
    const text = '{ "mail":\t"say\\nann@example.com",  "n": 1e3, "o": "\\u00e9" }'
    const { value } = masks.redact(text)
    expect(value).toBe('{ "mail":\t"say\\n[email]",  "n": 1e3, "o": "\\u00e9" }')
    const key = values.secret?.[3] ?? ''
    const sealed = tokens.redact(JSON.stringify({ key })).value
    expect(JSON.parse(String(tokens.restore(sealed, ['secret'])))).toEqual({ key })
  })

  it('does not believe a token that it has not made: it could hide anything', () => {
    const fake = `[email:whsec_${'a1B2c3D4'.repeat(6)}]`
    expect(tokens.redact(fake).value).not.toContain('whsec_')
    expect(masks.redact(`[note: ann@example.com]`).value).toBe('[note: [email]]')
  })

  it('takes what is kept for nothing, and what overlaps as a whole', () => {
    const some = createRedactor(redactRules.parse({ kinds: { email: 'keep' } }))
    expect(some.redact('ann@example.com').found).toBeUndefined()
    expect(masks.redact('at postgres://app:s3cr3tPassw0rd@db.example.com/x now').value).toBe('at [secret] now')
  })

  it('refuses more text than it has time for', () => {
    expect(() => masks.redact(['a'.repeat(1024 * 1024), 'more'])).toThrow(
      expect.objectContaining({ code: 'redaction.too_large' }),
    )
  })

  it('refuses a value of more numbers than it can tell from telephone numbers in time', () => {
    for (const part of ['0 12 34 56 78 90 ', '1-23-45-67 ', '12345 67890 ']) {
      const began = performance.now()
      expect(() => masks.redact(part.repeat(1_000_000 / part.length))).toThrow(
        expect.objectContaining({ code: 'redaction.too_large' }),
      )
      expect(performance.now() - began).toBeLessThan(40_000)
    }
  })

  it('is done in time with texts that are made to hold it up', () => {
    for (const part of [
      '1 2 ',
      'a@',
      '1.1.',
      '4111-1111-',
      'mysql://a:',
      '{"a":',
      '202-456-1111 ',
      'eyJaaaaaaa.',
      '[[',
    ]) {
      const began = performance.now()
      tokens.redact(part.repeat(100_000 / part.length))
      expect(performance.now() - began).toBeLessThan(40_000)
    }
  })
})

describe('rules', () => {
  const refusal = (rules: object, given?: string) => {
    try {
      createRedaction(redactRules.parse(rules), given)
    } catch (error) {
      return error instanceof MusterError ? { code: error.code, path: error.issues?.[0]?.path } : error
    }
    return undefined
  }
  it.each([
    [{ patterns: [{ kind: 'x', pattern: '(a' }] }, '/patterns/0/pattern'],
    [{ patterns: [{ kind: 'x', pattern: '(a)\\1' }] }, '/patterns/0/pattern'],
    [{ patterns: [{ kind: 'x', pattern: 'a*' }] }, '/patterns/0/pattern'],
    [{ kinds: { 'shoe-size': 'mask' } }, '/kinds/shoe-size'],
    [{ kinds: { email: 'token' } }, '/kinds/email'],
  ])('refuse %j', (rules, path) => {
    expect(refusal(rules)).toEqual({ code: 'config.invalid', path })
  })

  it('take a pattern that would hold up a backtracking matcher', () => {
    const slow = createRedactor(redactRules.parse({ patterns: [{ kind: 'slow', pattern: '(a+)+b' }] }))
    const began = performance.now()
    expect(slow.redact('a'.repeat(50_000)).found).toBeUndefined()
    expect(performance.now() - began).toBeLessThan(40_000)
  })
})

describe('tokens', () => {
  const other = createRedactor(asTokens, { secret, tenant: 'other' })
  const email = String(tokens.redact('ann@example.com').value)

  it('are the same for the same value, and others for another value, tenant and kind', () => {
    expect(tokens.redact('To: ann@example.com').value).toBe(`To: ${email}`)
    expect(tokens.redact('bob@example.com').value).not.toBe(email)
    expect(other.redact('ann@example.com').value).not.toBe(email)
    expect(email).toMatch(/^\[email:[A-Za-z0-9_-]+\]$/)
  })

  it('are restored for the kinds that are asked for only', () => {
    expect(tokens.restore({ to: email }, ['phone'])).toEqual({ to: email })
    expect(tokens.restore({ to: email }, ['email', 'phone'])).toEqual({ to: 'ann@example.com' })
  })

  it.each([
    ['of another tenant', (): [Redactor, string] => [other, email]],
    [
      'of another secret',
      (): [Redactor, string] => [createRedactor(asTokens, { secret: `${secret}!`, tenant: 'acme' }), email],
    ],
    ['of another kind', (): [Redactor, string] => [tokens, email.replace('email', 'phone')]],
  ])('%s are refused', (_, make) => {
    const [redactor, token] = make()
    expect(() => redactor.restore(token, everyKind)).toThrow(
      expect.objectContaining({ code: 'redaction.invalid_token' }),
    )
  })

  it('are refused whichever character was changed', () => {
    fc.assert(
      fc.property(fc.integer({ min: 7, max: email.length - 2 }), fc.constantFrom(...'AZaz09-_'), (at, by) => {
        fc.pre(email[at] !== by)
        const changed = email.slice(0, at) + by + email.slice(at + 1)
        expect(() => tokens.restore(changed, ['email'])).toThrow(
          expect.objectContaining({ code: 'redaction.invalid_token' }),
        )
      }),
      { seed: 1 },
    )
  })
})

describe('whatever is in a value', () => {
  const glue = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 12 }),
    fc.constantFrom(' ', ', ', '\n', ': ', '[', ']', '(', ')', '/', '-', '"', '@', '1', ' 12 ', '[email]', '[secret]'),
  )
  const planted = fc.constantFrom(...Object.values(values).flat())
  const text = fc.array(fc.oneof(glue, planted), { maxLength: 8 }).map((parts) => parts.join(''))
  const value: fc.Arbitrary<Json> = fc.letrec<{ json: Json; text: string }>((tie) => ({
    text,
    json: fc.oneof(
      { depthSize: 'small' },
      tie('text'),
      fc.integer(),
      fc.array(tie('json'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom('a', 'to', 'password', 'x y'), tie('json'), { maxKeys: 3 }),
    ),
  })).json

  it('restoring gives back what it was', () => {
    fc.assert(
      fc.property(value, (json) => {
        expect(tokens.restore(tokens.redact(json).value, everyKind)).toEqual(json)
      }),
      { seed: 2, numRuns: 1000 },
    )
  })

  it('redacting again finds nothing more', () => {
    fc.assert(
      fc.property(value, fc.constantFrom(masks, tokens), (json, redactor) => {
        const once = redactor.redact(json).value
        expect(redactor.redact(once)).toEqual({ value: once, found: undefined })
      }),
      { seed: 3, numRuns: 1000 },
    )
  })

  it('nothing that stands by itself survives', () => {
    const space = fc.constantFrom(' ', '\n', ' | ', ' "', '\t')
    const mixed = fc.array(fc.tuple(space, planted, fc.constantFrom(' x', '\n', '" ', ' |')), { maxLength: 6 })
    fc.assert(
      fc.property(mixed, fc.constantFrom(masks, tokens), (parts, redactor) => {
        const result = String(redactor.redact(parts.flat().join('')).value)
        for (const [, planted] of parts) expect(result).not.toContain(planted)
      }),
      { seed: 4, numRuns: 1000 },
    )
  })
})

describe('images and files', () => {
  const base64 = (text: string) => Buffer.from(text, 'latin1').toString('base64')
  const file = (mediaType: string, data: string) => ({ type: 'file', name: 'of ann@example.com', mediaType, data })

  it('of an image nothing is taken out, and of a file of text what is found', () => {
    const image = { type: 'image', mediaType: 'image/png', data: base64(`\x89PNG\r\n\x1a\n4111 1111 1111 1111`) }
    expect(masks.redact([image])).toEqual({ value: [image], found: undefined })
    const { value, found } = tokens.redact([file('text/csv', base64('card\n4111 1111 1111 1111'))])
    expect(found).toEqual({ email: 1, 'credit-card': 1 })
    const [{ data }] = value as [{ data: string }]
    expect(Buffer.from(data, 'base64').toString()).toMatch(/^card\n\[credit-card:/)
    expect(tokens.restore(value, ['email', 'credit-card'])).toEqual([
      file('text/csv', base64('card\n4111 1111 1111 1111')),
    ])
  })

  it('what is only called an image is a text', () => {
    for (const data of ['4111111111111111', base64('nothing of the kind')]) {
      const called = { type: 'image', mediaType: 'image/png', data: `${data} ann@example.com` }
      expect(JSON.stringify(masks.redact(called).value)).not.toContain('ann@')
    }
    const digits = { type: 'image', mediaType: 'image/png', data: '4111111111111111' }
    expect(masks.redact(digits).found).toEqual({ 'credit-card': 1 })
  })
})
