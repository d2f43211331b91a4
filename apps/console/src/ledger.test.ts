import type { LedgerReceipt } from '@muster/protocol'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openBrowser, openSignedIn } from './test-browser.ts'
import { startTestStack, type TestStack } from './test-stack.ts'

const browser = await openBrowser()
if (!browser) console.warn('SKIPPED: without a browser. Install chromium, or set MUSTER_CHROMIUM.')

describe.skipIf(!browser)('what the ledger proves, in a browser', () => {
  let stack: TestStack
  let page: Page
  let complaints: string[]
  let run: string
  let receipt: LedgerReceipt

  beforeAll(async () => {
    stack = await startTestStack()
    ;({ page, complaints } = await openSignedIn(browser, stack))
  }, 120_000)

  afterAll(async () => {
    await browser?.close()
    await stack?.stop()
  }, 60_000)

  async function journalLength(id: string): Promise<number> {
    const response = await stack.muster.open('GET', `/v1/runs/${id}/journal`)
    await response.body?.cancel()
    return Number(response.headers.get('muster-entries'))
  }

  async function open(): Promise<void> {
    await page.goto(`${stack.url}/#/runs`)
    await page.getByRole('heading', { name: 'Runs' }).waitFor()
    await page.goto(`${stack.url}/#/runs/${run}`)
    await page.getByRole('heading', { name: 'month@2.0.0' }).waitFor()
  }

  const ledger = () => page.locator('.ledger')

  /** What the page says where the server answers with this receipt. */
  async function openWith(change: Partial<LedgerReceipt>): Promise<string | null> {
    await page.route('**/receipt', (route) => route.fulfill({ json: { ...receipt, ...change } }))
    await open()
    const said = await ledger().getByRole('alert').textContent()
    await page.unroute('**/receipt')
    return said
  }

  const keyId = () => receipt.keys[0]?.split('+')[1] ?? ''

  test('has a run that waits', async () => {
    const { id } = await stack.muster.runs.start('month', { payee: 'Ada' })
    run = id
    const sealed = () => stack.muster.ledger.receipt(id).catch(() => undefined)
    const isParked = async () => {
      const { seq } = JSON.parse((await sealed())?.leaf ?? '{}')
      const { waiting } = await stack.muster.runs.get(id)
      return waiting.length > 0 && seq === (await journalLength(id))
    }
    await expect.poll(isParked, { timeout: 30_000 }).toBe(true)
    receipt = await stack.muster.ledger.receipt(id)
  })

  test('shows where a run is in it, when, and who signed', async () => {
    await open()
    const said = await ledger().getByRole('status').textContent()
    expect(said).toContain(`✓ in the ledger: leaf ${receipt.index} of `)
    expect(said).toContain(`${JSON.parse(receipt.leaf).seq} entries, parked`)
    expect(said).toContain('“Verify” checks its bytes')
    expect(await ledger().textContent()).toContain(`Signed by ${receipt.origin} ${keyId()}: keys that the server names`)
    await page.getByRole('button', { name: 'Verify' }).click()
    await ledger().getByText('its bytes too').waitFor()
  })

  test('finds a receipt, a leaf and a signature that were tampered with', async () => {
    const [first = '', ...rest] = receipt.inclusion
    const flipped = (text: string) => (text.startsWith('A') ? `B${text.slice(1)}` : `A${text.slice(1)}`)
    if (first !== '') expect(await openWith({ inclusion: [flipped(first), ...rest] })).toContain('is not proven')
    expect(await openWith({ index: receipt.index + 1 })).toContain('is not proven')
    expect(await openWith({ leaf: receipt.leaf.replace('parked', 'ended') })).toContain('is not proven')
    const lines = receipt.checkpoint.split('\n')
    const signed = lines.findIndex((line) => line.startsWith('— '))
    const changed = lines.map((line, i) => (i === signed ? `${line.slice(0, -12)}${flipped(line.slice(-12))}` : line))
    expect(await openWith({ checkpoint: changed.join('\n') })).toContain('does not hold')
    expect(await openWith({ checkpoint: lines.slice(0, signed).join('\n') })).toContain('not written as one is')
    await open()
    await ledger().getByText('✓ in the ledger').waitFor()
  })

  test('finds a journal that was written anew, and bytes that were changed', async () => {
    const last = JSON.parse(receipt.leaf).seq
    await page.route('**/events', async (route) => {
      const events: string[] = []
      for await (const event of stack.muster.runs.stream(run)) {
        const hash = event.seq === last ? '0'.repeat(64) : event.hash
        events.push(`id: ${event.seq}\nevent: ${event.entry.type}\ndata: ${JSON.stringify({ ...event, hash })}\n\n`)
        if (event.seq === last) break
      }
      await route.fulfill({ contentType: 'text/event-stream', body: events.join('') }).catch(() => undefined)
    })
    await open()
    await ledger().getByText(`entry ${last} has another hash than its leaf`).waitFor()
    await page.goto(`${stack.url}/#/runs`)
    await page.unroute('**/events')
    await page.route('**/journal', async (route) => {
      const response = await route.fetch()
      await route.fulfill({ response, body: (await response.text()).replace('mail.read', 'mail.send') })
    })
    await open()
    await ledger().getByText('✓ in the ledger').waitFor()
    await page.getByRole('button', { name: 'Verify' }).click()
    expect(await ledger().getByRole('alert').textContent()).toMatch(
      /not proven by the ledger: entry \d+ does not match/,
    )
    await page.unroute('**/journal')
  })

  test('takes no key but those that are pinned in the browser', async () => {
    await open()
    await ledger().getByText('Ledger keys: those that the server names', { exact: true }).click()
    const field = ledger().getByLabel('Trust only these vkeys')
    await field.fill('nonsense')
    await ledger().getByRole('button', { name: 'Pin' }).click()
    expect(await ledger().getByRole('alert').textContent()).toContain('nonsense is no vkey')
    await field.fill(receipt.keys.join(' '))
    await ledger().getByRole('button', { name: 'Pin' }).click()
    await ledger().getByText(`${keyId()}: keys pinned in this browser`).waitFor()
    // As Go's documentation has it: a key that signs nothing here.
    await field.fill('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW')
    await ledger().getByRole('button', { name: 'Pin' }).click()
    await ledger().getByText('none of the keys has signed it').waitFor()
    await page.reload()
    await ledger().getByText('none of the keys has signed it').waitFor()
    await ledger().getByText('Ledger keys: pinned in this browser', { exact: true }).click()
    await field.fill('')
    await ledger().getByRole('button', { name: 'Pin' }).click()
    await ledger().getByText('✓ in the ledger').waitFor()
  })

  test('says so where there is no ledger, and where the run is not in it yet', async () => {
    for (const [code, said] of [
      ['ledger.off', 'No ledger'],
      ['ledger.not_sealed', 'Not in the ledger yet'],
    ] as const) {
      await page.route('**/receipt', (route) => route.fulfill({ status: 404, json: { code, detail: 'none' } }))
      await open()
      expect(await ledger().getByRole('status').textContent()).toContain(said)
      await page.unroute('**/receipt')
    }
  })

  test('does not claim a signature that the browser cannot check', async () => {
    const other = await page.context().newPage()
    await other.addInitScript(() => {
      SubtleCrypto.prototype.importKey = () => Promise.reject(new DOMException('none', 'NotSupportedError'))
    })
    await other.goto(`${stack.url}/#key=${stack.key}`)
    await other.getByRole('heading', { name: 'Runs' }).waitFor()
    await other.goto(`${stack.url}/#/runs/${run}`)
    await other.getByText('This browser has no Ed25519').waitFor()
    const said = await other.locator('.ledger').textContent()
    expect(said).not.toContain('✓')
    expect(said).not.toContain('Signed by')
    await other.close()
  })

  test('complained of nothing', () => {
    expect(complaints).toEqual([])
  })
})
