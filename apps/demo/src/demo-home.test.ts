import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { demoHome, documents, prepareDemo } from './demo-home.ts'
import { setAside } from './set-aside.ts'
import { test } from './test-home.ts'

test('the inbox is filled once', async ({ home }) => {
  const results = await Promise.all([prepareDemo(), prepareDemo()])
  expect(results).toEqual([{ inbox: home.inbox }, { inbox: home.inbox }])
  expect(await readdir(home.inbox)).toEqual(await readdir(join(documents, 'invoices')))
  expect(await readdir(join(home.inbox, '..'))).toEqual(['inbox'])
})

test('what the user changed in the inbox stays', async ({ home }) => {
  await prepareDemo()
  await rm(join(home.inbox, 'scan-0117.txt'))
  await writeFile(join(home.inbox, 'bramblecote-8812.json'), 'mine')
  await prepareDemo()
  expect(await readFile(join(home.inbox, 'bramblecote-8812.json'), 'utf8')).toBe('mine')
  expect(await readdir(home.inbox)).not.toContain('scan-0117.txt')
})

test('a home may be named', () => {
  expect(demoHome('/somewhere').ledger).toBe('/somewhere/demo/ledger.jsonl')
  expect(demoHome('').inbox).toMatch(/\.muster\/demo\/inbox$/)
})

test('a file that is set aside keeps its content, whatever lies there, and a repeat does nothing', async ({ home }) => {
  await mkdir(home.inbox, { recursive: true })
  const put = (content: string) => writeFile(join(home.inbox, 'a.txt'), content)
  const move = (reason: string) => setAside({ file: 'a.txt', folder: home.inbox, reason }, home.setAside)
  await put('one')
  expect(await move('first')).toEqual({ file: 'a.txt' })
  expect(await move('again')).toEqual({ file: 'a.txt' })
  await put('two')
  expect(await move('second')).toEqual({ file: 'a-2.txt' })
  expect(await readFile(join(home.setAside, 'a.txt'), 'utf8')).toBe('one')
  expect(await readFile(join(home.setAside, 'a.txt.reason.txt'), 'utf8')).toBe('first\n')
  expect(await readFile(join(home.setAside, 'a-2.txt'), 'utf8')).toBe('two')
  await expect(setAside({ file: '../ledger.jsonl', folder: home.inbox, reason: '' }, home.setAside)).rejects.toThrow()
})
