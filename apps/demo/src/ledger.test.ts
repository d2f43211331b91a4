import { execFile } from 'node:child_process'
import { appendFile, mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect } from 'vitest'
import { payLedger } from './agents.ts'
import { findPayment, type Payment, pay, readLedger } from './ledger.ts'
import { test } from './test-home.ts'

const payment = (n: number): Payment => ({
  payee: 'A',
  iban: 'X',
  amount: 1,
  currency: 'EUR',
  invoice: `I-${n}`,
  order: `PO-${n}`,
})

/** Pays in a process of its own: invoices `from` to `to`, each under its number and the process's name. */
async function payElsewhere(file: string, name: string, count: number): Promise<string[]> {
  const ledger = new URL('./ledger.ts', import.meta.url).href
  const code = `
    import { pay } from ${JSON.stringify(ledger)}
    for (let n = 0; n < ${count}; n++) {
      const payment = { payee: 'A', iban: 'X', amount: 1, currency: 'EUR', invoice: 'I-' + n }
      console.log(await pay(${JSON.stringify(file)}, payment, ${JSON.stringify(name)} + n).then(() => 'paid', () => 'refused'))
    }`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code])
  return stdout.trim().split('\n')
}

describe('the ledger', () => {
  test('pays once under a key, and shows a repeat', async ({ home }) => {
    const first = await pay(home.ledger, payment(1), 'k')
    const again = await pay(home.ledger, payment(1), 'k')
    expect(again).toEqual(first)
    const { payments, voided } = await readLedger(home.ledger)
    expect(payments).toEqual([first])
    expect(voided).toMatchObject([{ key: 'k' }])
  })

  test('refuses an invoice or an order that was paid, and writes nothing', async ({ home }) => {
    await pay(home.ledger, payment(1), 'k')
    const before = await readFile(home.ledger, 'utf8')
    await expect(pay(home.ledger, { ...payment(1), order: 'PO-9' }, 'other')).rejects.toThrow('paid already')
    await expect(pay(home.ledger, { ...payment(9), order: 'PO-1' }, 'other')).rejects.toMatchObject({
      code: 'tool.failed',
    })
    expect(await readFile(home.ledger, 'utf8')).toBe(before)
    await pay(home.ledger, { ...payment(1), payee: 'B', order: undefined }, 'another payee')
  })

  test('of calls at once for one invoice, one pays', async ({ home }) => {
    const calls = Array.from({ length: 20 }, (_, n) => pay(home.ledger, payment(1), `k${n}`))
    const results = await Promise.allSettled(calls)
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect((await readLedger(home.ledger)).payments).toHaveLength(1)
  })

  test('holds with several processes: every invoice is paid by one of them', async ({ home }) => {
    const count = 15
    const results = await Promise.all(['a', 'b', 'c', 'd'].map((name) => payElsewhere(home.ledger, name, count)))
    for (let n = 0; n < count; n++) expect(results.filter((result) => result[n] === 'paid')).toHaveLength(1)
    const { payments } = await readLedger(home.ledger)
    expect(payments.map(({ invoice }) => invoice).sort()).toEqual(
      Array.from({ length: count }, (_, n) => `I-${n}`).sort(),
    )
    const lines = (await readFile(home.ledger, 'utf8')).split('\n').filter(Boolean)
    for (const line of lines) expect(() => JSON.parse(line)).not.toThrow()
  })

  test('passes over the line of a process that died while it wrote', async ({ home }) => {
    await mkdir(dirname(home.ledger), { recursive: true })
    await appendFile(home.ledger, '{"payee":"A","iba')
    await pay(home.ledger, payment(1), 'k')
    expect(await findPayment(home.ledger, 'k')).toMatchObject({ invoice: 'I-1' })
  })

  test('reconcile finds the payment by its key, or says that there is none', async ({ home }) => {
    const context = (idempotencyKey: string) => ({
      idempotencyKey,
      fencingToken: 1,
      signal: AbortSignal.timeout(5000),
      run: 'r',
      step: 's',
      tenant: 't',
    })
    expect(await payLedger.reconcile?.(context('k'))).toBeUndefined()
    const paid = await payLedger.call({ ...payment(1) }, context('k'))
    expect(await payLedger.reconcile?.(context('k'))).toEqual(paid)
    expect(await payLedger.reconcile?.(context('other'))).toBeUndefined()
    expect((await readLedger(home.ledger)).payments).toHaveLength(1)
  })
})
