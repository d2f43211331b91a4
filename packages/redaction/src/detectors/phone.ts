import { type CountryCode, isSupportedCountry, parsePhoneNumberFromString } from 'libphonenumber-js/max'
import { type Detector, type Effort, spend } from '../span.ts'

/** Groups of digits as numbers are written, neither part of a word nor of a decimal number. */
const RUN =
  /(?<![A-Za-z\u00c0-\u024f0-9_@#+]|[A-Za-z\u00c0-\u024f0-9_][.,/-]|\d:)(?:\+|\(\+?|00)?\d{1,15}(?:(?:[ \u00a0.\u2010-\u2015/-]|[ \u00a0]?[()][ \u00a0]?){1,2}\d{1,15}){0,9}(?![A-Za-z\u00c0-\u024f0-9_]|[:.,/-]\d)/g
const DATE = /^(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2})(?!\d|[./-]\d)/
/** A table of numbers, and no number. */
const SINGLES = /^\D*(?:\d\D+){4}/
const DECIMAL = /^\d+\.\d{5,}$/
const DIGITS_MIN = 7
const DIGITS_MAX = 17
/** A longer row of digits that begins with 0 is rather something else. */
const UNGROUPED_MAX = 12

/**
 * Valid telephone numbers, as libphonenumber has them: with `+` or `00` from anywhere, else from the countries named and
 * only as they are written there. The library's own search in a text takes a millisecond for every few digits, so only
 * what looks like a number is given to its parser.
 */
export function phone(countries: readonly string[]): Detector {
  const known = countries.filter((country): country is CountryCode => isSupportedCountry(country))
  return {
    kind: 'phone',
    hint: { digits: DIGITS_MIN },
    *find(text, effort) {
      const runs = new RegExp(RUN)
      for (let match = runs.exec(text); match; match = runs.exec(text)) {
        const { index, 0: run } = match
        const international = /^\(?\+|^00/.test(run)
        const isLike = run.length >= DIGITS_MIN && !DATE.test(run) && !DECIMAL.test(run) && !SINGLES.test(run)
        const length =
          isLike && (international || known.length > 0) ? numberLength(run, international, known, effort) : 0
        if (length > 0) yield { start: index, end: index + length }
        // On from behind it, or from its next group.
        runs.lastIndex = index + (length || /^\D*\d+/.exec(run)?.[0].length || run.length)
      }
    },
  }
}

/** How much of a run is a number, by whole groups, the longest first; 0 for none. */
function numberLength(run: string, international: boolean, countries: readonly CountryCode[], effort: Effort): number {
  const ends = [...run.matchAll(/\d+/g)].map(({ index, 0: group }) => index + group.length)
  for (const end of ends.reverse()) {
    const written = run.slice(0, end)
    const digits = written.replace(/\D/g, '')
    if (digits.length > DIGITS_MAX) continue
    if (digits.length < DIGITS_MIN) return 0
    spend(effort, 'parses', international ? 1 : countries.length)
    if (international) {
      const number = parsePhoneNumberFromString(written.replace(/^\(?\+|^00/, '+'))
      // A plus says what it is, and ranges of numbers change.
      if (number?.isValid() || (written.includes('+') && number?.isPossible())) return end
    } else if (countries.some((country) => isWrittenThere(written, country))) return end
  }
  return 0
}

/** Any nine digits are a valid number somewhere: without a leading zero or a bracket the groups must be as usual. */
function isWrittenThere(written: string, country: CountryCode): boolean {
  const number = parsePhoneNumberFromString(written, country)
  if (!number?.isValid() || number.country !== country) return false
  const isGrouped = /\d\D+\d/.test(written)
  if (/^\(?0/.test(written) || written.startsWith('(')) return isGrouped || written.length <= UNGROUPED_MAX
  const groups = (text: string) => text.match(/\d+/g)?.join(' ')
  return isGrouped && groups(number.formatNational()) === groups(written)
}
