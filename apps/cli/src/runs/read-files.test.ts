import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { filePart, imagePart, prompt } from '@muster/protocol'
import { afterAll, expect, it } from 'vitest'
import { z } from 'zod'
import { saidOf, withFiles } from './read-files.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-files-'))
afterAll(() => rmSync(dir, { recursive: true }))

function file(name: string, bytes: string): string {
  writeFileSync(join(dir, name), bytes, 'latin1')
  return join(dir, name)
}
const base64 = (bytes: string) => Buffer.from(bytes, 'latin1').toString('base64')
const schemaOf = (schema: z.ZodType) => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as never

const JPEG = '\xff\xd8\xff\xe0 a photo'
const photo = file('photo.bin', JPEG)
const pdf = file('invoice.PDF', '%PDF-1.7 of ours')
const spoken = schemaOf(prompt)
const order = schemaOf(z.object({ order: z.string(), invoice: filePart, photos: z.array(imagePart) }))

it.each([
  ['a.png', '\x89PNG\r\n\x1a\n', 'image/png'],
  ['a.pdf', '\xff\xd8\xff', 'image/jpeg'],
  ['a.txt', 'RIFF....WEBPVP8', 'image/webp'],
  ['a', '%PDF-1.7', 'application/pdf'],
  ['a.docx', 'PK\x03\x04', 'application/vnd.openxmlformats-officedocument.wordprocessingml.document'],
  ['a.XLSX', 'PK\x03\x04', 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet'],
  ['a.xls', '\xd0\xcf\x11\xe0', 'application/vnd.ms-excel'],
  ['a.md', '# x', 'text/markdown'],
  ['a.csv', 'a,b', 'text/csv'],
  ['a.doc', 'only text', 'text/plain'],
  ['Makefile', 'all:', 'text/plain'],
])('tells what %s is by how it begins, or by its name: %j', (name, bytes, mediaType) => {
  expect(saidOf(undefined, [file(name, bytes)])).toMatchObject([{ mediaType, data: base64(bytes) }])
})

it('adds files to a text, or puts each in its field', () => {
  const image = { type: 'image', mediaType: 'image/jpeg', data: base64(JPEG) }
  const invoice = { type: 'file', name: 'invoice.PDF', mediaType: 'application/pdf', data: base64('%PDF-1.7 of ours') }
  const text = { type: 'text', text: 'Look' }
  expect(withFiles('Look', [photo, `${pdf}#the invoice`], spoken)).toEqual([
    text,
    image,
    { ...invoice, name: 'the invoice' },
  ])
  expect(withFiles(undefined, [photo], spoken)).toEqual([image])
  expect(withFiles([text, image], [pdf], spoken)).toEqual([text, image, invoice])
  expect(withFiles({ order: '1' }, [`${photo}#photos`, `${pdf}#invoice`, `${photo}#photos`], order)).toEqual({
    ...{ order: '1', invoice, photos: [image, image] },
  })
  expect(saidOf('Look', [])).toBe('Look')
  // A sign in the name of the file itself.
  expect(saidOf('Look', [file('a#b', '%PDF-')])).toMatchObject([text, { name: 'a#b' }])
})

it.each<[string, () => unknown, string]>([
  ['is not there', () => saidOf('x', [join(dir, 'nothing')]), 'nothing is not there'],
  ['is a folder', () => saidOf('x', [dir]), 'is no file'],
  ['is empty', () => saidOf('x', [file('empty', '')]), 'is empty'],
  ['is nothing that a model takes', () => saidOf('x', [file('a.zip', 'PK\x03\x04\x14\0')]), 'is not a png'],
  ['has bytes of no text', () => saidOf('x', [file('a.bin', 'a\0b')]), 'is not a png'],
  ['is too large', () => saidOf('x', [large()]), '3145728 of 3145728 are left'],
  ['is too large with others', () => saidOf('x', [pdf, large(3_145_728)]), 'are left for files'],
  ['has no name after the sign', () => saidOf('x', [`${pdf}#`]), 'no name after #'],
  ['is an image with a name', () => saidOf('x', [`${photo}#me`]), 'an image has no name'],
  ['is one of too many', () => saidOf('x', Array(101).fill(pdf)), 'at most 100'],
  ['has no field', () => withFiles({}, [pdf], order), `${pdf}#<field> (of order, invoice, photos)`],
  ['has a field that is there', () => withFiles({ order: '1' }, [`${pdf}#order`], order), 'has a "order" already'],
  ['goes with a number', () => withFiles(1, [pdf], order), 'it takes no file'],
])('refuses a file that %s', (_, read, message) => {
  expect(read).toThrow(expect.objectContaining({ code: 'request.invalid', message: expect.stringContaining(message) }))
})

function large(bytes = 3_145_729): string {
  const path = file('large.txt', '')
  truncateSync(path, bytes)
  return path
}
