import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HOSTILE } from './test-app.ts'
import { openBrowser, openPage } from './test-browser.ts'
import { startTestStack, type TestStack } from './test-stack.ts'

const browser = await openBrowser()
if (!browser)
  console.warn('SKIPPED: the console is not tested without a browser. Install chromium, or set MUSTER_CHROMIUM.')

describe.skipIf(!browser)('the console in a browser', () => {
  let stack: TestStack
  let page: Page
  let complaints: string[]

  beforeAll(async () => {
    stack = await startTestStack()
    if (!browser) throw new Error('no browser')
    ;({ page, complaints } = await openPage(browser))
  }, 120_000)

  afterAll(async () => {
    await browser?.close()
    await stack?.stop()
  }, 90_000)

  /** Starts the plan and waits until it waits for its approval. */
  async function startRun(payee: string): Promise<string> {
    const { id } = await stack.muster.runs.start('month', { payee })
    await expect
      .poll(async () => (await stack.muster.runs.get(id)).waiting.some((w) => w.for === 'approval'), {
        timeout: 20_000,
      })
      .toBe(true)
    return id
  }

  test('asks for a key, and says what is wrong with one', async () => {
    await page.goto(stack.url)
    await page.getByLabel('API key').fill('mk_wrong')
    await page.getByRole('button', { name: 'Sign in' }).click()
    expect(await page.getByRole('alert').textContent()).toContain('The API key is not known')
    // The browser itself reports the 401 that we asked for.
    expect(complaints.splice(0)).toEqual([expect.stringContaining('401')])
    await page.getByLabel('API key').fill(stack.key)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('heading', { name: 'Runs' }).waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByLabel('API key').waitFor()
  })

  test('takes a key from the fragment and removes it', async () => {
    await page.goto(`${stack.url}/#key=${stack.key}`)
    await page.getByRole('heading', { name: 'Runs' }).waitFor()
    expect(page.url()).toBe(`${stack.url}/#/runs`)
  })

  test('lists new runs by itself, and filters them', async () => {
    const id = await startRun('Ada')
    const row = page.getByRole('row').filter({ hasText: id.slice(-12) })
    await row.getByText('waiting').waitFor()
    await page.getByLabel('Status').selectOption('waiting')
    await expect.poll(() => page.getByRole('row').count()).toBe(2)
    await page.getByLabel('Name').fill('clerk')
    await page.getByLabel('Name').press('Enter')
    await page.getByText('No run is like this.').waitFor()
    await page.goto(`${stack.url}/#/runs`)
    await row.getByRole('link').click()
    await page.getByRole('heading', { name: 'month@2.0.0' }).waitFor()
  })

  test('shows a step, and what a stranger wrote only as text', async () => {
    const steps = page.getByRole('region', { name: 'Steps' })
    await steps.getByRole('button', { name: 'mail.read' }).click()
    const panel = page.getByRole('complementary')
    const text = await panel.textContent()
    expect(text).toContain('<img src=x onerror=\\"document.title=1\\"> pay \\u202e0001')
    expect(text).toContain('allow all')
    expect(text).toContain('#untrusted')
    expect(text).toMatch(/Idempotency key[0-9a-f-]{36}\/mail\.read/)
    expect(text).toContain('step.intent')
    expect(await panel.locator('img').count()).toBe(0)
    const cut = (await panel.textContent())?.length ?? 0
    await panel.getByRole('button', { name: /^Show all/ }).click()
    expect((await panel.textContent())?.length).toBeGreaterThan(cut + 5000)
    await page.keyboard.press('Escape')
    await panel.waitFor({ state: 'detached' })
    expect(
      await steps.getByRole('button', { name: /mail\.read/ }).evaluate((button) => button === document.activeElement),
    ).toBe(true)
  })

  test('leads to a child run and back', async () => {
    await page.getByRole('link', { name: 'child run' }).click()
    await page.getByRole('heading', { name: 'clerk@1.0.0' }).waitFor()
    await page.getByRole('region', { name: 'Steps' }).getByRole('button', { name: '1.model' }).waitFor()
    await page.goBack()
    await page.getByRole('heading', { name: 'month@2.0.0' }).waitFor()
  })

  test('verifies a journal, and names an entry that was changed', async () => {
    await page.getByRole('button', { name: 'Verify' }).click()
    await page.getByText(/^✓ ok, \d+ entries$/).waitFor()
    await page.route('**/journal', async (route) => {
      const response = await route.fetch()
      const lines = (await response.text()).split('\n')
      lines[2] = (lines[2] ?? '').replace('mail.read', 'mail.send')
      await route.fulfill({ response, body: lines.join('\n') })
    })
    await page.getByRole('button', { name: 'Verify' }).click()
    expect(await page.getByText(/^✗ entry 3/).textContent()).toContain('does not match its hash')
    await page.getByText(/^Journal, /).click()
    expect(await page.locator('tr[data-wrong]').first().textContent()).toContain('mail.read')
    await page.unroute('**/journal')
  })

  test('goes on where a connection was cut', async () => {
    const asked: (string | undefined)[] = []
    await page.route('**/events', async (route) => {
      const after = route.request().headers()['last-event-id']
      asked.push(after)
      if (asked.length > 1) return route.continue()
      const id = route.request().url().split('/').at(-2) ?? ''
      const events: string[] = []
      for await (const event of stack.muster.runs.stream(id)) {
        events.push(`id: ${event.seq}\nevent: ${event.entry.type}\ndata: ${JSON.stringify(event)}\n\n`)
        if (event.seq === 3) break
      }
      await route.fulfill({ contentType: 'text/event-stream', body: events.join('') })
    })
    await page.reload()
    const steps = page.getByRole('region', { name: 'Steps' })
    await steps.getByRole('button', { name: 'bank.pay' }).waitFor()
    expect(asked).toEqual(['0', '3'])
    expect(await steps.getByRole('listitem').count()).toBe(3)
    await page.unroute('**/events')
  })

  test('approves exactly what is shown, and sees the run succeed', async () => {
    const run = page.url().split('/').at(-1) ?? ''
    await page.getByRole('link', { name: 'Approvals' }).click()
    const card = page.getByRole('article')
    const text = await card.textContent()
    expect(text).toContain('"payee": "Ada"')
    const [asked] = (await stack.muster.runs.get(run)).waiting
    expect(text).toContain(asked?.digest?.slice(0, 16))
    await card.getByRole('button', { name: 'Approve' }).click()
    await card.getByText('✓ Approved').waitFor()
    await page.goto(`${stack.url}/#/runs/${run}`)
    await page.getByRole('main').getByText('succeeded').waitFor()
    await page.getByText('R-Ada').first().waitFor()
    await page.getByText(/approved by/).waitFor()
    await page.getByRole('button', { name: 'Verify' }).click()
    await page.getByText(/^✓ ok, \d+ entries$/).waitFor()
  })

  test('asks those alone who may answer', async () => {
    const run = await startRun('Cy')
    const { key } = await stack.muster.keys.create({ user: 'visitor', roles: ['finance'] })
    if (!browser) throw new Error('no browser')
    const other = await openPage(browser)
    await other.page.goto(`${stack.url}/#key=${key}`)
    await other.page.goto(`${stack.url}/#/runs/${run}`)
    await other.page.getByText('Your key has not the role controller.').waitFor()
    expect(await other.page.getByRole('button', { name: 'Approve' }).count()).toBe(0)
    expect(await other.page.getByRole('article').textContent()).toContain('"payee": "Cy"')
    expect(other.complaints).toEqual([])
    await other.page.close()
    await stack.muster.runs.of(run).terminate()
  })

  test('says why an approval is not taken, and follows a refusal live', async () => {
    const run = await startRun('Bob')
    await page.goto(`${stack.url}/#/runs/${run}`)
    await page.route('**/approvals', (route) => {
      const body = JSON.parse(route.request().postData() ?? '{}')
      return route.continue({ postData: JSON.stringify({ ...body, digest: '0'.repeat(64) }) })
    })
    await page.getByRole('button', { name: 'Refuse' }).click()
    const alert = await page.getByRole('alert').textContent()
    expect(alert).toContain('What is to be approved has changed')
    expect(alert).toContain('approve what it shows now')
    expect(complaints.splice(0)).toEqual([expect.stringContaining('409')])
    await page.unroute('**/approvals')
    await page.getByRole('button', { name: 'Refuse' }).click()
    await page.getByText('approval.denied').first().waitFor()
  })

  test('shows every question, however many wait', async () => {
    const run = page.url()
    const started = await stack.muster.runs.startMany(
      'month',
      Array.from({ length: 130 }, (_, i) => ({ input: { payee: `payee ${i}` } })),
    )
    const ids = started.flatMap((one) => one.run?.id ?? [])
    await expect
      .poll(async () => (await Promise.all(ids.map((id) => stack.muster.runs.get(id)))).map((one) => one.status), {
        timeout: 60_000,
      })
      .toEqual(ids.map(() => 'waiting'))
    await page.goto(`${stack.url}/#/approvals`)
    const questions = page.getByRole('article')
    for (const shown of [25, 50, 75, 100, 125]) {
      await expect.poll(() => questions.count(), { timeout: 10_000 }).toBe(shown)
      await page.getByRole('button', { name: 'Load more' }).click()
    }
    await expect.poll(() => questions.count(), { timeout: 10_000 }).toBe(130)
    expect(await page.getByRole('button', { name: 'Load more' }).count()).toBe(0)
    await Promise.all(ids.map((id) => stack.muster.runs.of(id).terminate()))
    await page.goto(run)
  })

  test('says what holds a run back, whatever somebody gave as the reason', async () => {
    const run = page.url().split('/').at(-1) ?? ''
    const by = { key: 'k', user: HOSTILE }
    const held = { paused: { at: 1, by }, stopped: [{ name: 'plan:month', by: 'ann', at: 1, reason: HOSTILE }] }
    await page.route(`**/v1/runs/${run}`, async (route) => {
      const response = await route.fetch()
      await route.fulfill({ response, json: { ...(await response.json()), ...held } })
    })
    await page.reload()
    const written = '<img src=x onerror="document.title=1"> pay \\u202e0001'
    const paused = page.locator('p', { hasText: 'Paused' })
    const stopped = page.locator('.problem', { hasText: 'stopped plan:month, by ann' })
    expect(await paused.textContent()).toContain(`by ${written}`)
    expect(await stopped.textContent()).toContain(`: ${written}`)
    await page.unroute(`**/v1/runs/${run}`)
  })

  test('says what was erased, and not that there was none', async () => {
    const run = page.url().split('/').at(-1) ?? ''
    const { id } = await stack.muster.erasures.request({ run, reason: 'asked for' })
    await expect.poll(async () => (await stack.muster.erasures.get(id)).state, { timeout: 60_000 }).toBe('done')
    await page.reload()
    await page.getByRole('region', { name: 'Steps' }).getByRole('button', { name: 'mail.read' }).click()
    const panel = page.getByRole('complementary')
    expect(await panel.getByText('Erased or expired. Its digest stays in the record').count()).toBe(2)
    expect(await panel.textContent()).not.toContain('pure step')
    expect(await page.locator('p', { hasText: 'Content erased' }).textContent()).toContain('by dev')
    await page.getByText('Records about it').click()
    await page.getByRole('region', { name: 'Records' }).getByText('erasure.requested').waitFor()
    expect(await page.locator('details', { hasText: 'Input' }).getByText('Erased or expired.').count()).toBe(1)
  })

  test('fits a small screen', async () => {
    await page.setViewportSize({ width: 400, height: 800 })
    for (const hash of ['#/runs', '#/approvals', new URL(page.url()).hash]) {
      await page.goto(`${stack.url}/${hash}`)
      await page.getByRole('heading').first().waitFor()
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(400)
    }
  })

  test('is served under a strict policy, and nothing beside it is', async () => {
    const response = await fetch(stack.url)
    const policy = response.headers.get('content-security-policy') ?? ''
    expect(policy).toMatch(/default-src 'self'; script-src 'self' 'sha256-[^']+';/)
    expect(policy).not.toContain('unsafe')
    const etag = response.headers.get('etag') ?? ''
    expect((await fetch(stack.url, { headers: { 'if-none-match': etag } })).status).toBe(304)
    expect((await fetch(stack.url, { method: 'POST' })).status).toBe(404)
    for (const path of ['..%2findex.ts', '%2e%2e/files.ts', '../package.json', 'verify.test.ts', '']) {
      expect((await fetch(`${stack.url}/console/${path}`)).status, path).toBe(404)
    }
  })

  test('complained of nothing', () => {
    expect(complaints).toEqual([])
  })
})
