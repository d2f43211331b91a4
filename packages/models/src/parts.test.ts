import { expect, it } from 'vitest'
import type { Part } from './message.ts'
import { createModels } from './models.ts'

const models = createModels({
  routes: { default: { model: 'gpt-5', baseUrl: 'http://127.0.0.1:1/v1', apiKey: 'k', timeoutMs: 1000 } },
})
const image = (characters: number): Part => ({ type: 'image', mediaType: 'image/png', data: 'A'.repeat(characters) })
const ask = (...content: Part[]) => models.invoke('default', { messages: [{ role: 'user', content }] })

it('images and files are bounded in all, and each that cannot be sent is named', async () => {
  const megabytes = 4 * 1024 * 1024
  await expect(ask(...Array.from({ length: 7 }, () => image(megabytes)))).rejects.toMatchObject({
    code: 'model.unsupported',
    issues: [{ path: '/messages', message: expect.stringContaining('20 MB') }],
  })
  const csv: Part = { type: 'file', name: 'a.csv', mediaType: 'text/csv', data: 'QQ==' }
  await expect(ask({ type: 'text', text: 'x' }, csv, image(3))).rejects.toMatchObject({
    issues: [{ path: '/messages/0/content/1' }, { path: '/messages/0/content/2', message: 'the data must be base64' }],
  })
  // Whole, it is asked: nobody is there.
  await expect(ask(image(megabytes))).rejects.toMatchObject({ code: 'model.unavailable' })
})

it('a model that is known to take text alone is sent nothing else', async () => {
  const base = { model: 'm', baseUrl: 'http://127.0.0.1:1/v1', apiKey: 'k', timeoutMs: 1000 }
  const of = (inputs: string[]) => createModels({ routes: { default: { ...base, about: { inputs } } } })
  const pdf: Part = { type: 'file', name: 'a.pdf', mediaType: 'application/pdf', data: 'QQ==' }
  const sent = { messages: [{ role: 'user' as const, content: [image(4), pdf] }] }
  await expect(of(['text']).invoke('default', sent)).rejects.toMatchObject({
    code: 'model.unsupported',
    issues: [{ path: '/messages/0/content/0' }, { path: '/messages/0/content/1' }],
  })
  await expect(of(['text', 'image']).invoke('default', sent)).rejects.toMatchObject({ code: 'model.unavailable' })
})

it('an image is not counted by its bytes', () => {
  const request = { messages: [{ role: 'user' as const, content: [image(4_000_000)] }] }
  for (const route of ['default', 'qwen3']) expect(models.inputTokens(route, request)).toBeLessThan(2000)
  expect(models.reserveTokens(request)).toBeLessThan(6000)
})
