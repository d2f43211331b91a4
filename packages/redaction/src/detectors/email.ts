import validator from 'validator'
import type { Detector } from '../span.ts'

const LOCAL = /[\p{L}\p{N}._%+'-]/u
const DOMAIN = /[\p{L}\p{N}.-]/u
/** Pictures for finer screens, and the user of a git server. */
const NOBODY = /^[^@]*@\dx\.\w+$|^git@/
const LOCAL_MAX = 64
const DOMAIN_MAX = 255

/** Addresses around an `@` (in a link also `%40`), as validator has them; also with letters that are not ASCII. */
export const email: Detector = {
  kind: 'email',
  hint: { text: /@|%40/ },
  *find(text) {
    let from = 0
    for (const { index: at, 0: sign } of text.matchAll(/@|%40/g)) {
      let start = at
      while (start > from && at - start < LOCAL_MAX && LOCAL.test(text.charAt(start - 1))) start--
      const domain = at + sign.length
      let end = domain
      while (end < text.length && end - at <= DOMAIN_MAX && DOMAIN.test(text.charAt(end))) end++
      // What only stands around it.
      while (start < at && /['.-]/.test(text.charAt(start))) start++
      while (end > domain && /[.-]/.test(text.charAt(end - 1))) end--
      const address = `${text.slice(start, at)}@${text.slice(domain, end)}`
      if (NOBODY.test(address) || !validator.isEmail(address, { ignore_max_length: true })) continue
      yield { start, end }
      from = end
    }
  },
}
