import { rules } from '@secretlint/secretlint-rule-preset-recommend'
import type { SecretLintRuleContext, SecretLintSourceCode } from '@secretlint/types'
import type { Detector } from '../span.ts'

type Range = { start: number; end: number }

/** Shapes that secretlint's recommended rules have not. Where there is a group `secret`, only that is one. */
const SHAPES: readonly RegExp[] = [
  // JSON web tokens (RFC 7519).
  /(?<![\w-])eyJ[\w-]{6,4000}\.eyJ[\w-]{6,8000}\.[\w-]{16,2000}/dg,
  // Authorization headers (RFC 6750, RFC 7617).
  /\b(?:Bearer|Basic)\s{1,3}(?<secret>[\w.~+/-]{16,4000}={0,2})/dgi,
  // Ids of AWS keys, keys of Stripe, Google and Twilio.
  /(?<![\w-])(?:AKIA|ASIA)[A-Z0-9]{16}(?![\w-])/dg,
  /(?<![\w-])(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,256}/dg,
  /(?<![\w-])whsec_[A-Za-z0-9+/=]{20,256}/dg,
  /(?<![\w-])AIza[\w-]{35}(?![\w-])/dg,
  /(?<![\w-])SK[0-9a-f]{32}(?![\w-])/dg,
  // A password in an address (RFC 3986), in a connection string, in a setting; not what only says where it is.
  /\b[a-z][a-z0-9+.-]{1,30}:\/\/[^\s:/?#@"'<>]{0,100}:(?<secret>(?![$<{])[^\s:/?#@"'<>]{1,200})@/dgi,
  /\b(?:password|passwd|passphrase|pwd|secret|client[_-]?secret|api[_-]?key|access[_-]?token|auth[_-]?token|account[_-]?key|shared[_-]?access[_-]?key)["']?\s{0,3}[:=]\s{0,3}["']?(?<secret>(?![$<{%]|\*{3}|process\.|os\.|env[.(])[^\s"',;&<>[\]]{8,200})/dgi,
  // A private key whose end is missing or that secretlint takes for an example.
  /-----BEGIN (?:[A-Z ]{1,20} )?PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,-]{64,16000}/dg,
]

/** Names of fields whose text is a secret whatever it looks like. */
const NAMES =
  /^(?:password|passwd|passphrase|pwd|secret|client[_-]?secret|private[_-]?key|api[_-]?key|access[_-]?token|refresh[_-]?token|auth[_-]?token)$/i

export function isSecretName(name: string): boolean {
  return NAMES.test(name)
}

let reported: Range[] = []
/**
 * The rules are run by themselves: secretlint's core is asynchronous, which no step's end can wait for, and obeys
 * comments in the text that switch rules off, which whoever writes the text could use.
 */
const context = {
  report: ({ range: [start, end] }: { range: readonly [number, number] }) => {
    reported.push({ start, end })
  },
  ignore: () => {},
  createTranslator: () => () => ({ message: '', messageId: '' }),
} as unknown as SecretLintRuleContext // all that a rule calls
const scanners = rules.map((rule) => rule.create(context, {}))

function* byRules(text: string): Generator<Range> {
  const source = { content: text, filePath: undefined, ext: '', contentType: 'text' } as unknown as SecretLintSourceCode // a text without a file
  reported = []
  for (const { file } of scanners) void file?.(source)
  yield* reported
}

/**
 * Something of this is in whatever the rules and shapes find, so that other texts need none of them: most texts have no
 * secret, and fifty patterns take fifty times as long as one. A test makes texts of every pattern that the rules run.
 */
export const HINT =
  /A3T|A[KS]IA|AGPA|AI[DP]A|AROA|AN[PV]A|account|secret|key|token|pass|pwd|oauth|bearer|basic|:\/\/|eyJ|AIza|SK[0-9a-f]|SG\.|whsec_|[sr]k_|sk-|npm_|xox|xapp|shp[a-z]{2}_|gh[a-z]_|github_pat|glpat|glc_|glsa_|gsk_|hf_|lin_api|ntn_|ops_|hv[sbr]\.|vc[a-z]_|dapi|dckr|figd|cf[a-z]{1,2}_/i

/** API keys, private keys, tokens and passwords: secretlint's recommended rules, and the shapes above. */
export const secret: Detector = {
  kind: 'secret',
  hint: { text: HINT },
  *find(text) {
    if (text.length < 8) return
    yield* byRules(text)
    for (const shape of SHAPES) {
      for (const match of text.matchAll(shape)) {
        const [start, end] = match.indices?.groups?.secret ?? match.indices?.[0] ?? [0, 0]
        if (end > start) yield { start, end }
      }
    }
  },
}
