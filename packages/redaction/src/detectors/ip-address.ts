import validator from 'validator'
import type { Detector } from '../span.ts'

const V4 =
  /(?<![A-Za-z\u00c0-\u024f0-9_.-]|\d:|[A-Za-z]\/)\d{1,3}(?:\.\d{1,3}){3}(?![A-Za-z\u00c0-\u024f0-9_]|\.\d|-[A-Za-z\u00c0-\u024f0-9_])/g
const V6 = /(?<![A-Za-z\u00c0-\u024f0-9_:.])[0-9A-Fa-f:]{3,39}(?:\.\d{1,3}){0,3}(?![A-Za-z\u00c0-\u024f0-9_:])/g
/** Four numbers with dots are a version where they are said to be one. */
const VERSION = /(?:version|release|build|v\.?)[\s"':=]*$/i
/** They belong to nobody. */
const NOBODY = /^(?:127\.|0\.0\.0\.0$|255\.255\.255\.255$|::1?$)/

/** Addresses of both versions, except those that every machine has. */
export const ipAddress: Detector = {
  kind: 'ip-address',
  hint: { text: /\d\.\d|:[0-9A-Fa-f:]/ },
  *find(text) {
    for (const { index: start, 0: found } of text.matchAll(V4)) {
      if (NOBODY.test(found) || !validator.isIP(found, 4) || VERSION.test(text.slice(Math.max(start - 16, 0), start)))
        continue
      yield { start, end: start + found.length }
    }
    if (!text.includes(':')) return
    for (const { index: start, 0: found } of text.matchAll(V6)) {
      // The colon of a sentence is not part of it.
      const address = /[^:]:$/.test(found) ? found.slice(0, -1) : found
      if (NOBODY.test(address) || !validator.isIP(address, 6)) continue
      yield { start, end: start + address.length }
    }
  },
}
