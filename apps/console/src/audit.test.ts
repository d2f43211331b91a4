import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HOSTILE } from './test-app.ts'
import { openBrowser, openPage } from './test-browser.ts'
import { startTestStack, type TestStack } from './test-stack.ts'

const browser = await openBrowser()
if (!browser) console.warn('SKIPPED: without a browser. Install chromium, or set MUSTER_CHROMIUM.')

describe.skipIf(!browser)('the page for who audits, in a browser', () => {
  let stack: TestStack
  let page: Page
  let complaints: string[]
  let run: string

  beforeAll(async () => {
    stack = await startTestStack()
    if (!browser) throw new Error('no browser')
    ;({ page, complaints } = await openPage(browser))
  }, 120_000)

  afterAll(async () => {
    await browser?.close()
    await stack?.stop()
  }, 60_000)

  const ledger = () => page.getByRole('region', { name: 'Ledger' })
  const steps = () => page.getByRole('region', { name: 'Steps', exact: true })
  const records = () => page.getByRole('region', { name: 'Record book' })
  const rowsOf = (name: string) => page.getByRole('region', { name, exact: true }).locator('tbody tr')

  async function checkAgain(): Promise<void> {
    const answered = page.waitForResponse('**/v1/ledger')
    await ledger().getByRole('button', { name: 'Check again' }).click()
    await answered
  }

  test('checks the head of the ledger, and what this browser saw of it before', async () => {
    const { id } = await stack.muster.runs.start('month', { payee: 'Ada' })
    run = id
    await expect.poll(() => stack.muster.ledger.head().catch(() => undefined), { timeout: 30_000 }).toBeDefined()
    await page.goto(`${stack.url}/#key=${stack.key}`)
    await page.getByRole('link', { name: 'Audit' }).click()
    await ledger().getByText('✓ signed; this browser has not seen it before').waitFor()
    const { origin } = await stack.muster.ledger.head()
    expect(await ledger().textContent()).toContain(`Signed by ${origin}`)
    await checkAgain()
    await ledger()
      .getByText(/✓ signed, and it begins with the \d+ leaves that this browser saw/)
      .waitFor()
  })

  test('finds a ledger that was written anew, cut, or is not signed', async () => {
    const seen = await page.evaluate(() => localStorage.getItem('muster.ledger-seen') ?? '')
    const see = (text: string) => page.evaluate((text) => localStorage.setItem('muster.ledger-seen', text), text)
    const changed = (change: object) =>
      JSON.stringify(
        Object.fromEntries(Object.entries(JSON.parse(seen)).map(([k, v]) => [k, { ...Object(v), ...change }])),
      )
    const other = Buffer.alloc(32, 7).toString('base64')
    for (const text of [changed({ root: other }), changed({ size: 1e6 }), changed({ root: 'none' })]) {
      await see(text)
      await checkAgain()
      await ledger().getByText('REWRITTEN').waitFor()
      // What was found is found again: nothing was remembered in its place.
      expect(await page.evaluate(() => localStorage.getItem('muster.ledger-seen'))).toBe(text)
      await see(seen)
      await checkAgain()
      await ledger().getByText('✓ signed').waitFor()
    }
    const head = await stack.muster.ledger.head()
    for (const [change, said] of [
      [{ root: other }, 'another head than the one that is signed'],
      [{ checkpoint: head.checkpoint.replace(head.root, other) }, 'does not hold'],
      [{ keys: [] }, 'none of the keys has signed it'],
    ] as const) {
      await page.route('**/v1/ledger', (route) => route.fulfill({ json: { ...head, ...change } }))
      await checkAgain()
      await ledger().getByText(said).waitFor()
      await page.unroute('**/v1/ledger')
    }
    await checkAgain()
    await ledger().getByText('✓ signed').waitFor()
  })

  test('finds steps by what holds of them, and leads to their runs', async () => {
    const found = () => stack.muster.audit.search({ tool: 'mail.read' })
    await expect.poll(async () => (await found()).hits.length, { timeout: 30_000 }).toBeGreaterThan(0)
    await steps().getByLabel('Tool').fill('mail.read')
    await steps().getByLabel('Decision').selectOption('allow')
    await steps().getByRole('button', { name: 'Search' }).click()
    await expect.poll(() => rowsOf('Steps found').count()).toBe(1)
    const text = await rowsOf('Steps found').first().textContent()
    expect(text).toContain('mail.read')
    expect(text).toContain('allow all')
    expect(text).toContain('#untrusted')
    // Each filter reaches the server; each of these leaves nothing.
    for (const [label, value] of [
      ['Person', 'nobody'],
      ['Policy', 'none'],
      ['Label', 'none'],
      ['Amount from', '5'],
      ['Before', '2020-01-01T00:00:00'],
    ] as const) {
      await steps().getByLabel(label).fill(value)
      await steps().getByLabel(label).press('Enter')
      await steps().getByText('No step is like this.').waitFor()
      await steps().getByLabel(label).fill('')
    }
    await steps().getByLabel('After').fill('2020-01-01T00:00:00')
    await steps().getByRole('button', { name: 'Search' }).click()
    await rowsOf('Steps found').first().getByRole('link').click()
    await page.getByRole('heading', { name: 'month@2.0.0' }).waitFor()
    expect(page.url()).toContain(run)
    await page.getByRole('complementary').getByText('step.intent').waitFor()
    await page.goBack()
    await rowsOf('Steps found').first().waitFor()
    // What was asked for stands in the address, and goes with it.
    expect(await steps().getByLabel('Tool').inputValue()).toBe('mail.read')
    expect(await steps().getByLabel('After').inputValue()).toBe('2020-01-01T00:00')
    await page.getByRole('link', { name: 'Audit' }).click()
    await expect.poll(() => steps().getByLabel('Tool').inputValue()).toBe('')
  })

  test('finds the amount that was paid, and goes on over pages that are short', async () => {
    const asked: string[] = []
    await page.route('**/v1/audit/search?**', async (route) => {
      const url = new URL(route.request().url())
      asked.push(url.search)
      const hit = {
        run,
        seq: asked.length,
        at: 1,
        name: 'month',
        version: '1',
        by: HOSTILE,
        kind: 'tool',
        target: 'bank.pay',
      }
      const more = {
        step: 'bank.pay',
        status: 'ok',
        decisions: ['ask'],
        policies: [HOSTILE],
        labels: [HOSTILE.slice(0, 64)],
        approvers: [],
      }
      const hits = asked.length === 1 ? [] : [{ ...hit, ...more, amounts: { amount: 12 } }]
      return route.fulfill({ json: { hits, scanned: 1, ...(asked.length < 3 ? { cursor: `c${asked.length}` } : {}) } })
    })
    await steps().getByLabel('Amount from').fill('10')
    await steps().getByLabel('Amount to').fill('20.5')
    await steps().getByRole('button', { name: 'Search' }).click()
    const further = steps().getByRole('button', { name: 'Look further' })
    await further.click()
    await expect.poll(() => rowsOf('Steps found').count()).toBe(1)
    await further.click()
    await expect.poll(() => rowsOf('Steps found').count()).toBe(2)
    await further.waitFor({ state: 'detached' })
    expect(asked).toEqual(['', '&cursor=c1', '&cursor=c2'].map((cursor) => `?min=10&max=20.5${cursor}`))
    const text = await rowsOf('Steps found').first().textContent()
    expect(text).toContain('amount 12')
    expect(text).toContain('<img src=x onerror="document.title=1"> pay \\u202e0001')
    expect(text).toContain('#<img src=x onerror="document.title=1"> pay \\u202e0001')
    expect(await steps().locator('img').count()).toBe(0)
    await page.unroute('**/v1/audit/search?**')
  })

  test('shows the record book newest first, by action and user, page by page', async () => {
    const name = `agent:${HOSTILE}`
    for (let i = 0; i < 26; i++) {
      await stack.muster.budgets.set(name, { day: { usd: i + 1 } })
      await stack.muster.budgets.remove(name)
    }
    await records().getByRole('button', { name: 'Refresh' }).click()
    const more = records().getByRole('button', { name: 'Load more records' })
    await more.waitFor()
    expect(await rowsOf('Records').first().textContent()).toContain('budget.removed')
    expect(await rowsOf('Records').first().textContent()).toContain('onerror=\\"document.title=1\\"> pay \\u202e0001')
    expect(await records().locator('img').count()).toBe(0)
    expect(await rowsOf('Records').count()).toBe(50)
    await more.click()
    await expect.poll(() => rowsOf('Records').count()).toBeGreaterThan(52)
    const places = await rowsOf('Records').locator('td:first-child').allTextContents()
    expect(places.map(Number)).toEqual(places.map((_, i) => places.length - i))
    await records().getByLabel('Action').selectOption('budget.set')
    await expect.poll(() => rowsOf('Records').count()).toBe(26)
    await records().getByLabel('User').fill('nobody')
    await records().getByLabel('User').press('Enter')
    await records().getByText('No record is like this.').waitFor()
    expect(new URL(page.url()).hash).toBe('#/audit?min=10&max=20.5&action=budget.set&user=nobody')
  })

  test('leads to the run that somebody has read', async () => {
    await page.route('**/v1/audit/records?**', (route) => {
      const record = { v: 1, seq: 1, tenant: 'dev', at: 1, by: { key: 'k', user: 'eve' }, action: 'content.read' }
      return route.fulfill({ json: { records: [{ ...record, about: { run, what: 'journal' } }] } })
    })
    await records().getByLabel('User').fill('eve')
    await records().getByLabel('User').press('Enter')
    await rowsOf('Records').getByRole('link').click()
    await page.getByRole('heading', { name: 'month@2.0.0' }).waitFor()
    await page.unroute('**/v1/audit/records?**')
  })

  test('fits a small screen', async () => {
    await page.setViewportSize({ width: 400, height: 800 })
    await page.goto(`${stack.url}/#/audit`)
    await ledger().getByText('✓ signed').waitFor()
    await rowsOf('Records').first().waitFor()
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(400)
  })

  test('complained of nothing', () => {
    expect(complaints).toEqual([])
  })
})
