import { rules } from '@secretlint/secretlint-rule-preset-recommend'
import fc from 'fast-check'
import { expect, it, vi } from 'vitest'
import { effort } from '../span.ts'
import { HINT, secret } from './secret.ts'

/** Every pattern that looking for secrets runs, as it runs it. */
function patternsRun(): RegExp[] {
  const patterns: RegExp[] = []
  const matchAll = vi.spyOn(String.prototype, 'matchAll').mockImplementation((pattern) => {
    patterns.push(pattern as RegExp) // what secretlint and we give it
    return [][Symbol.iterator]() as unknown as RegExpStringIterator<RegExpExecArray> // nothing is found
  })
  for (const _ of secret.find('a text in which there is nothing', effort()));
  matchAll.mockRestore()
  return patterns.filter(({ source }) => !source.includes('secretlint-'))
}

/** Without what looks around, which no text can be made for: more texts match then. */
function bodyOf({ source, flags }: RegExp): RegExp {
  let body = ''
  let inClass = false
  /** Groups that are open; of those that look around, what came before. */
  const open: (string | undefined)[] = []
  for (const [token] of source.matchAll(/\\.(?:\{[A-Z]\})?|\(\?<?!|./gs)) {
    if (inClass) inClass = token !== ']'
    else if (token === '[') inClass = true
    else if (token.startsWith('(')) open.push(token.endsWith('!') ? body : undefined)
    else if (token === ')') {
      const before = open.pop()
      if (before !== undefined) {
        body = before
        continue
      }
    }
    if (token !== String.raw`\b`) body += token
  }
  return new RegExp(body, flags.replace(/[dgimy]/g, ''))
}

it('leaves out no text that a pattern could match', () => {
  const patterns = patternsRun()
  // secretlint's and ours: a rule of which nothing is seen here would not be tried.
  expect(patterns.length).toBeGreaterThan(rules.length + 5)
  for (const pattern of patterns) {
    const texts = fc.stringMatching(bodyOf(pattern))
    fc.assert(
      fc.property(texts, (text) => HINT.test(text)),
      { numRuns: 200, seed: 1 },
    )
  }
})
