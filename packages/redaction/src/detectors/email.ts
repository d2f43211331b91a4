import validator from 'validator'
import type { Detector } from '../span.ts'

const LOCAL = /[\p{L}\p{N}._%+'-]/u
const DOMAIN = /[\p{L}\p{N}.-]/u
const LOCAL_MAX = 64
const DOMAIN_MAX = 255

/** Addresses around an `@`, as validator has them; also with letters that are not ASCII. */
export const email: Detector = {
  kind: 'email',
  *find(text) {
    let from = 0
    for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', at + 1)) {
      let start = at
      while (start > from && at - start < LOCAL_MAX && LOCAL.test(text.charAt(start - 1))) start--
      let end = at + 1
      while (end < text.length && end - at <= DOMAIN_MAX && DOMAIN.test(text.charAt(end))) end++
      // What only stands around it.
      while (start < at && /['.-]/.test(text.charAt(start))) start++
      while (end > at && /[.-]/.test(text.charAt(end - 1))) end--
      if (!validator.isEmail(text.slice(start, end), { ignore_max_length: true })) continue
      yield { start, end }
      from = end
    }
  },
}
