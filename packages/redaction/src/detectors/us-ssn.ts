import type { Detector } from '../span.ts'

/**
 * Social Security numbers with hyphens or spaces. They have no checksum: what the Social Security Administration never
 * gives out (area 000, 666 and 9xx, group 00, serial 0000) is left.
 */
const SSN =
  /(?<![A-Za-z\u00c0-\u024f0-9_.-])(?!000|666|9)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![A-Za-z\u00c0-\u024f0-9_]|[-.]\d)/g

export const usSsn: Detector = {
  kind: 'us-ssn',
  hint: { digits: 9 },
  *find(text) {
    for (const { index: start, 0: found } of text.matchAll(SSN)) yield { start, end: start + found.length }
  },
}
