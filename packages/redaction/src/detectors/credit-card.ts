import validator from 'validator'
import type { Detector } from '../span.ts'

/** A run of groups of digits, neither part of a word nor of a decimal number. */
const RUN =
  /(?<![A-Za-z\u00c0-\u024f0-9_.,/+]|[A-Za-z\u00c0-\u024f0-9_]-)\d+(?:[ \u00a0.-]\d+)*(?![A-Za-z\u00c0-\u024f0-9_]|[-.,]\d)/g
const DECIMAL = /^\d+\.\d+$/
const DIGITS_MIN = 13
const DIGITS_MAX = 19

/** Card numbers by issuer and Luhn's checksum, as validator has them: whole groups of a run of digits. */
export const creditCard: Detector = {
  kind: 'credit-card',
  hint: { digits: DIGITS_MIN },
  *find(text) {
    for (const { index, 0: run } of text.matchAll(RUN)) {
      if (run.length < DIGITS_MIN || DECIMAL.test(run)) continue
      const groups = [...run.matchAll(/\d+/g)]
      for (let first = 0; first < groups.length; first++) {
        const start = groups[first]?.index ?? 0
        // Digits behind the point of a decimal number.
        if (run[start - 1] === '.') continue
        let digits = ''
        let found = 0
        for (let last = first; last < groups.length && digits.length <= DIGITS_MAX; last++) {
          const group = groups[last]?.[0] ?? ''
          digits += group
          const isLong = digits.length >= DIGITS_MIN && digits.length <= DIGITS_MAX
          if (isLong && validator.isCreditCard(digits)) found = last + 1
        }
        if (found === 0) continue
        const end = groups[found - 1]
        yield { start: index + start, end: index + (end?.index ?? 0) + (end?.[0].length ?? 0) }
        first = found - 1
      }
    }
  },
}
