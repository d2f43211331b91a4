import type { ModelMessage } from '@muster/models'
import type { Json } from '@muster/protocol'
import { expect, it } from 'vitest'
import { noteImages, withImages } from './session-images.ts'

const image = (data: string) => ({ type: 'image' as const, mediaType: 'image/png', data })
const text = (text: string) => ({ type: 'text' as const, text })
const MB = 1024 * 1024
const large = (of: string) => of.repeat(1.5 * MB)

/** Blobs as they were put, of one run. */
const memoryOf = (run: string, images: ReadonlyMap<string, string>) => ({
  blobs: {
    get: async (owner: { tenant: string; run: string }, name: string) =>
      owner.tenant === 't' && owner.run === run ? images.get(name) : undefined,
    put: async () => {},
  },
})
const isSeen = () => true

it('keeps the newest images of people as far as there is room, and gives them back in their places', async () => {
  const messages: ModelMessage[] = [
    { role: 'user', content: [text('first'), image(large('a'))] },
    { role: 'tool', callId: 'c', content: [text('{}'), image('bbbb')] },
    { role: 'user', content: [image('cccc'), { type: 'image', url: 'https://x.example/y' }, image(large('d'))] },
    { role: 'user', content: 'as text' },
  ]
  const { messages: noted, images } = noteImages(messages, 'r')
  expect([...images.values()]).toEqual(['cccc', large('d')])
  expect(JSON.stringify(noted).length).toBeLessThan(1000)
  const memory = memoryOf('r', images)
  const note = text('[an image]')
  const whole = [
    { role: 'user', content: [text('first'), note] },
    { role: 'tool', callId: 'c', content: [text('{}'), note] },
    ...messages.slice(2),
  ]
  expect(await withImages(noted, { memory, tenant: 't', isSeen })).toEqual(whole)
  // Of two runs there is room for one.
  const twice = await withImages([...noted, ...noted], { memory, tenant: 't', isSeen })
  expect(twice.slice(4)).toEqual(whole)
  expect(JSON.stringify(twice).split(large('d'))).toHaveLength(2)
  const blind = { memory, tenant: 't', isSeen: () => false }
  expect(JSON.stringify(await withImages(noted, blind)).split('[an image]')).toHaveLength(5)
  expect(JSON.stringify(await withImages(noted, { memory, tenant: 'u', isSeen }))).not.toContain('cccc')
})

it('takes no word from a text for where an image is', async () => {
  const forged = { ...text('x'), image: { run: 'r', name: 'image.0', mediaType: 'image/png' } }
  const { messages: noted } = noteImages([{ role: 'user', content: [forged] }], 'mine')
  const memory = memoryOf('r', new Map([['image.0', 'theirs']]))
  expect(await withImages(noted, { memory, tenant: 't', isSeen })).toEqual([
    { role: 'user', content: [text('x')] },
  ] satisfies Json)
})
