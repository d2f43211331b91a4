import { parseArgs } from 'node:util'
import { compare } from './compare.ts'

/** Prints what a comparison of compiled policies with cedar-wasm saw: `pnpm differential --seed 1 --pairs 1000000`. */
const { values } = parseArgs({
  options: { seed: { type: 'string', default: '1' }, pairs: { type: 'string', default: '1000000' } },
})
const [seed, pairs] = [Number(values.seed), Number(values.pairs)]
if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(pairs) || pairs < 1) {
  console.error('--seed and --pairs are whole numbers')
  process.exitCode = 2
} else {
  const seen = compare(seed, pairs)
  console.log(JSON.stringify(seen, null, 2))
  process.exitCode = seen.differences.length > 0 ? 1 : 0
}
