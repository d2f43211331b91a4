import { promisify } from 'node:util'
import { zstdCompress } from 'node:zlib'
import { expect, test } from 'vitest'
import { DIGESTS, pack, unpack } from './packed.ts'
import { noise } from './test-run.ts'

/** As it was packed by those who did not tell its length. */
const packedBefore = (value: unknown) => promisify(zstdCompress)(JSON.stringify(value))

// Around what is done at once, before it is compressed and after.
test.each([0, 1, 90, 8190, 12_000, 32_765, 32_766, 32_767, 1_000_000])('%d characters come back', async (length) => {
  for (const text of [noise(length), 'a\ud800'.repeat(length / 2)]) {
    for (const packed of [await pack(text), await pack(text, DIGESTS), await packedBefore(text)])
      expect(await unpack(packed)).toBe(text)
  }
})

test('what is packed takes no more of what DynamoDB counts', async () => {
  const journals = Array.from({ length: 60 }, (_, i) => ({
    entries: Array.from({ length: i + 1 }, (_, seq) => ({ seq, hash: Buffer.from(noise(32, seq)).toString('hex') })),
  }))
  const texts = Array.from({ length: 60 }, (_, i) => [`${i} `.repeat(i), { said: noise(i), labels: ['a', 'b'] }, null])
  const steps = (all: Uint8Array[]) => all.reduce((sum, { length }) => sum + Math.ceil(length / 1024), 0)
  for (const [values, level] of [
    [journals, DIGESTS],
    [texts, undefined],
  ] as const) {
    const before = steps(await Promise.all(values.map(packedBefore)))
    expect(steps(await Promise.all(values.map((value) => pack(value, level))))).toBeLessThanOrEqual(before)
  }
})

test('what is no JSON is refused', async () => {
  await expect(pack(undefined)).rejects.toThrow(TypeError)
})
