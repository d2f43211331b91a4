import { getCountrySpecifications, ValidationErrorsIBAN, validateIBAN } from 'ibantools'
import type { Detector } from '../span.ts'

const lengths = new Map<string, number>()
for (const [country, { chars }] of Object.entries(getCountrySpecifications()))
  if (chars !== null) lengths.set(country, chars)

const BEGIN = /(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}/g
const CHARACTER = /[A-Za-z0-9]/
/** Between groups: spaces of any width, hyphens, dots. */
const SEPARATOR = /[\s.\u2010-\u2015-]/

/** Account numbers of the length that their country has, with the right checksum: as ibantools knows them. */
export const iban: Detector = {
  kind: 'iban',
  hint: { digits: 2 },
  *find(text) {
    for (const { index: start, 0: head } of text.matchAll(BEGIN)) {
      const length = lengths.get(head.slice(0, 2).toUpperCase())
      if (length === undefined) continue
      let compact = head
      let end = start + head.length
      while (compact.length < length && end < text.length) {
        const next = text.charAt(end)
        const after = text.charAt(end + 1)
        if (CHARACTER.test(next)) compact += next
        else if (SEPARATOR.test(next) && CHARACTER.test(after)) {
          compact += after
          end++
        } else break
        end++
      }
      if (compact.length !== length || CHARACTER.test(text.charAt(end))) continue
      // What banks check within a country besides says only that the number is mistyped, or is none of theirs.
      const { errorCodes } = validateIBAN(compact.toUpperCase())
      if (errorCodes.every((code) => code === ValidationErrorsIBAN.WrongAccountBankBranchChecksum)) yield { start, end }
    }
  },
}
