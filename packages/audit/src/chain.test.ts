import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { contentDigest, contentJson, genesis, link, saltContent } from './chain.ts'

const sha256 = (text: string) => createHash('sha256').update(text, 'utf8').digest('hex')

describe('chain', () => {
  it('is what any SHA-256 computes from the stored text', () => {
    // By `printf 'muster/journal/v1\nrun-1' | sha256sum`, and so on: nothing of ours takes part.
    const first = 'ca3591e9ef381e0a13045f273d9e1f6320f7ebe09125e8926f04e4596148a1a6'
    expect(genesis('run-1')).toBe(first)
    expect(genesis('run-1')).toBe(sha256('muster/journal/v1\nrun-1'))
    expect(link(first, '{"a":"ü"}')).toBe('f7241b99802cc0b6bb4f84718dc19b4394323ca7f686a0abb6c50c99ee31aa9e')
    expect(link(first, '{"a":"ü"}')).toBe(sha256(`${sha256('muster/journal/v1\nrun-1')}{"a":"ü"}`))
  })

  it('begins differently for each run', () => {
    expect(genesis('run-1')).not.toBe(genesis('run-2'))
  })
})

describe('content', () => {
  it('lies behind 22 characters of salt and comes back exactly', () => {
    const salted = saltContent('{"iban":"DE00"}')
    expect(salted).toMatch(/^[A-Za-z0-9_-]{22}\{/)
    expect(contentJson(salted)).toBe('{"iban":"DE00"}')
    expect(contentDigest(salted)).toBe(sha256(salted))
  })

  it('has a salt of its own each time, so that equal content has unequal digests', () => {
    const salts = new Set(Array.from({ length: 2000 }, () => saltContent('')))
    expect(salts.size).toBe(2000)
  })
})
