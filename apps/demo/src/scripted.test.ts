import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect } from 'vitest'
import { answer, documents, prepareDemo, readLedger } from './index.ts'
import { test } from './test-home.ts'
import { play } from './test-stage.ts'

const good = 'bramblecote-8812.json'

describe('the clerk', () => {
  test('pays a good invoice, step by step, and remembers the vendor', async ({ home }) => {
    await prepareDemo()
    const memory = new Map<string, unknown>()
    const { output, tools } = await play({ file: good }, { memory })
    expect(tools).toEqual([
      'invoice_read',
      'memory_find',
      'invoice_match',
      'payment_draft',
      'ledger_pay',
      'memory_save',
    ])
    const { payments, voided } = await readLedger(home.ledger)
    expect(payments).toMatchObject([
      {
        payee: 'Bramblecote Stationers Ltd',
        iban: 'GB93QXZB40308817625540',
        amount: 789.6,
        currency: 'GBP',
        order: 'PO-4103',
      },
    ])
    expect(voided).toEqual([])
    expect(output).toMatchObject({ status: 'paid', invoice: 'BS-8812', receipt: payments[0]?.receipt })
    expect(memory.get('Bramblecote Stationers Ltd')).toEqual({
      name: 'Bramblecote Stationers Ltd',
      iban: 'GB93QXZB40308817625540',
    })
    expect((await play({ file: 'bramblecote-8840.txt' }, { memory })).output?.status).toBe('paid')
  })

  test('pays by the text of a document', async ({ home }) => {
    const text = await readFile(join(documents, 'invoices', 'alpenzirbe-3301.txt'), 'utf8')
    expect((await play(text)).output).toMatchObject({ status: 'paid', invoice: 'AQ-3301' })
    const json = await readFile(join(documents, 'invoices', good), 'utf8')
    expect((await play(json)).output).toMatchObject({ status: 'paid', invoice: 'BS-8812' })
    expect((await readLedger(home.ledger)).payments).toHaveLength(2)
    expect((await play('What is for lunch?')).output).toMatchObject({ status: 'set-aside', invoice: '' })
  })

  test.for([
    ['pellworth-60091.xml', /above the 1,645.60 EUR of order PO-4121/],
    ['fernhollow-0618.txt', /above/],
    ['tarnbeck-cal-741.json', /no purchase order/],
    ['kestrelway-20640.txt', /no purchase order/],
    ['lumenvarde-77133.xml', /only 0 of 16/],
    ['cobaltina-a-4490.json', /only 6 of 10/],
    ['muellerthal-re-5560.xml', /on file/],
    ['mirevaux-fa-2026-331.txt', /on file/],
    ['zonderwijk-f26-0431.xml', /looks like it/],
    ['kestrelway-20655.json', /looks like it/],
    ['volthaven-2026-1219.json', /add up/],
    ['tarnbeck-cal-750.xml', /add up/],
  ] as const)('blocks %s', async ([file, reason], { home }) => {
    await prepareDemo()
    const { output, tools } = await play({ file })
    expect(output).toMatchObject({ status: 'blocked', reason: expect.stringMatching(reason) })
    expect(tools).not.toContain('ledger_pay')
    expect((await readLedger(home.ledger)).payments).toEqual([])
  })

  test.for([
    ['kestrelway-20611.xml', 'kestrelway-20698-resent.json'],
    ['zonderwijk-f26-0419.xml', 'zonderwijk-f26-0427.txt'],
  ] as const)('pays %s and blocks its duplicate %s', async ([first, second], { home }) => {
    await prepareDemo()
    expect((await play({ file: first })).output?.status).toBe('paid')
    expect((await play({ file: second })).output).toMatchObject({
      status: 'blocked',
      reason: expect.stringMatching(/paid already/),
    })
    expect((await readLedger(home.ledger)).payments).toHaveLength(1)
  })

  test('asks for approval above 10,000.00', async ({ home }) => {
    await prepareDemo()
    for (const file of ['volthaven-2026-1201.xml', 'oxbarrow-1415.json']) {
      expect(await play({ file })).toMatchObject({ status: 'waiting', role: 'controller' })
      expect((await play({ file }, { approvals: ['controller'] })).output?.status).toBe('paid')
    }
    expect((await readLedger(home.ledger)).payments).toHaveLength(2)
  })

  test('blocks when the account is not the one that was paid the last time', async ({ home }) => {
    await prepareDemo()
    const memory = new Map([
      ['Bramblecote Stationers Ltd', { name: 'Bramblecote Stationers Ltd', iban: 'GB33XXXX00000000000000' }],
    ])
    expect((await play({ file: good }, { memory })).output).toMatchObject({
      status: 'blocked',
      reason: expect.stringMatching(/last time/),
    })
    expect((await readLedger(home.ledger)).payments).toEqual([])
  })

  test.for([
    'volthaven-2026-1230.xml',
    'cobaltina-a-4502.xml',
    'scan-0117.txt',
    'lunch-menu-week-47.txt',
    'scan-0118.json',
  ])('sets %s aside', async (file, { home }) => {
    const { inbox } = await prepareDemo()
    expect((await play({ file })).output).toMatchObject({ status: 'set-aside', invoice: file, vendor: '' })
    expect((await readFile(join(home.setAside, `${file}.reason.txt`), 'utf8')).trim()).not.toBe('')
    await expect(readFile(join(inbox, file))).rejects.toThrow('ENOENT')
  })
})

describe('an injection', () => {
  test.for(['fernhollow-0625.txt', 'lumenvarde-77140.xml'])(
    'in %s fools the model and not the policy',
    async (file, { home }) => {
      await prepareDemo()
      const { output, tools } = await play({ file })
      expect(tools).toEqual(['invoice_read', 'ledger_pay'])
      expect(output).toMatchObject({
        status: 'blocked',
        reason: expect.stringMatching(/policy denied it: .*untrusted-to-payment/),
      })
      expect((await readLedger(home.ledger)).payments).toEqual([])
    },
  )

  test('would move money without the policy', async ({ home }) => {
    await prepareDemo()
    expect((await play({ file: 'fernhollow-0625.txt' }, { lawless: true })).output?.status).toBe('paid')
    expect((await readLedger(home.ledger)).payments).toMatchObject([{ iban: 'LV81QXZB0000435195001' }])
  })
})

describe('when a tool fails', () => {
  test.for(['invoice_read', 'memory_find', 'invoice_match', 'payment_draft', 'ledger_pay'])(
    '%s: blocked',
    async (broken, { home }) => {
      await prepareDemo()
      expect((await play({ file: good }, { broken })).output).toMatchObject({
        status: 'blocked',
        reason: `${broken} failed: it is broken`,
      })
      expect((await readLedger(home.ledger)).payments).toEqual([])
    },
  )

  test('after the payment, it is paid all the same', async ({ home }) => {
    await prepareDemo()
    const { output } = await play({ file: good }, { broken: 'memory_save' })
    expect(output).toMatchObject({ status: 'paid', reason: expect.stringMatching(/could not be remembered/) })
    expect((await readLedger(home.ledger)).payments).toHaveLength(1)
  })

  test('a file that leads out of the folder is not read', async ({ home }) => {
    await prepareDemo()
    await writeFile(join(home.inbox, '..', 'secret.txt'), 'Invoice no: 1')
    expect((await play({ file: '../secret.txt' })).output).toMatchObject({
      status: 'blocked',
      reason: expect.stringMatching(/not the name of a file/),
    })
  })
})

test('to others than the clerk, the script says what it is, and fails where a text is no answer', () => {
  const messages = [{ role: 'user', content: [{ text: 'hello' }] }]
  expect(answer({ messages })).toMatchObject({ content: expect.stringMatching(/scripted/) })
  expect(answer({ messages, response_format: { type: 'json_schema' } })).toMatchObject({
    error: expect.stringMatching(/OPENAI_API_KEY/),
  })
})
