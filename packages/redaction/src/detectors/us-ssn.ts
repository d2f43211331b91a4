import type { Detector } from '../span.ts'

/**
 * Social Security numbers with hyphens or spaces. They have no checksum: what the Social Security Administration never
 * gives out (area 000, 666 and 9xx, group 00, serial 0000) is left.
 */
const SSN = /(?<![\p{L}\p{N}_.-])(?!000|666|9)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\p{L}\p{N}_]|[-.]\d)/gu

export const usSsn: Detector = {
  kind: 'us-ssn',
  *find(text) {
    for (const { index: start, 0: found } of text.matchAll(SSN)) yield { start, end: start + found.length }
  },
}
