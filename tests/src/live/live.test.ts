import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { type Asked, type Said, ScriptedModel } from '../fixtures/scripted-model.ts'
import { runNode } from '../harness.ts'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const good = ({ body, results }: Asked): Said => {
  const asked = JSON.stringify(body)
  if (asked.includes('France')) return { text: '{"city":"Paris"}' }
  if (asked.includes('digits')) return { text: '1 2 3 4 5' }
  if (!asked.includes('17 + 25')) return { text: 'pong' }
  return results.length > 0 ? { text: 'It is 42.' } : { calls: [{ name: 'add', arguments: { a: 17, b: 25 } }] }
}
const model = new ScriptedModel(good)
afterAll(() => model.close())

describe('pnpm test:live', () => {
  it('asks each route in each way, says what that cost, and fails where an answer is wrong', async () => {
    const openai = { model: 'scripted', baseUrl: await model.listen() }
    const routes = { default: [{ openai }], thinking: [{ openai: { ...openai, api: 'responses' } }] }
    const env = { PATH: process.env.PATH, MUSTER_MODELS: JSON.stringify(routes) }
    const { code, out } = await runNode([main], env)
    expect(out).toMatch(/10 checks, 0 failed; it cost \$0\.0\d*[1-9]/)
    expect(code).toBe(0)
    model.script = (asked) =>
      JSON.stringify(asked.body).includes('France') ? { text: '{"city":"Rome"}' } : good(asked)
    const wrong = await runNode([main, '--json', '--route', 'thinking'], env)
    expect(wrong.code).toBe(1)
    const lines = wrong.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.filter(({ ok }) => !ok)).toMatchObject([{ route: 'thinking', check: 'output' }])
    expect(await runNode([main], { PATH: process.env.PATH })).toMatchObject({
      code: 2,
      err: expect.stringContaining('OPENAI_API_KEY'),
    })
  })
})
