import type { Costs } from '@muster/protocol'
import { createMuster } from '@muster/sdk'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { HOSTILE } from './test-app.ts'
import { openBrowser, openPage, openSignedIn } from './test-browser.ts'
import { startTestStack, type TestStack } from './test-stack.ts'

const browser = await openBrowser()
if (!browser) console.warn('SKIPPED: without a browser. Install chromium, or set MUSTER_CHROMIUM.')

const DAY_MS = 24 * 3_600_000
/** How what is hostile is shown. */
const WRITTEN = '<img src=x onerror="document.title=1"> pay \\u202e0001'
/** Of a call: ten tokens in and one out. */
const CALL_USD = 0.0101
const price = { model: 'hello', inputUsd: 1000, cachedUsd: 100, outputUsd: 100 }

const dayIn = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10)

describe.skipIf(!browser)('the page for costs, in a browser', () => {
  let stack: TestStack
  let page: Page
  let complaints: string[]
  /** Of this month, as the API has them. */
  let costs: Costs

  beforeAll(async () => {
    stack = await startTestStack((modelUrl) => {
      const provider = new URL(modelUrl).host
      const commitments = {
        [HOSTILE]: { provider, usd: 100, from: dayIn(-100), until: dayIn(99) },
        small: { provider, usd: 0.04, from: dayIn(-100), until: dayIn(99) },
        next: { provider, usd: 5, from: dayIn(10), until: dayIn(20) },
      }
      return { MUSTER_PRICES: JSON.stringify([price]), MUSTER_COMMITMENTS: JSON.stringify(commitments) }
    })
    await stack.muster.budgets.set('tenant', { month: { usd: 1000 } })
    await stack.muster.budgets.set(`user:${HOSTILE}`, { day: { runs: 2 }, month: { tokens: 1e6 } })
    await stack.muster.budgets.set('key:ann', { month: { runs: 8 } })
    await begin('ann', { user: 'ann', team: 'blue' }, 3)
    await begin('stranger', { user: HOSTILE, team: HOSTILE }, 2)
    costs = await callsOf(5)
    ;({ page, complaints } = await openSignedIn(browser, stack))
  }, 120_000)

  afterAll(async () => {
    await browser?.close()
    await stack?.stop()
  }, 60_000)

  /** Runs of somebody, each of one call, until their end. */
  async function begin(id: string, who: { user: string; team: string }, runs: number): Promise<void> {
    const { key } = await stack.muster.keys.create({ id, ...who })
    const muster = createMuster({ url: stack.url, key })
    for (let i = 0; i < runs; i++) await (await muster.runs.start('clerk', 'hello')).result()
  }

  async function callsOf(calls: number): Promise<Costs> {
    await vi.waitFor(async () => expect((await stack.muster.costs.list()).total.calls).toBe(calls), { timeout: 20_000 })
    return stack.muster.costs.list()
  }

  const hash = () => new URL(page.url()).hash
  const by = () => page.getByRole('combobox', { name: 'By' })
  const month = () => page.getByLabel('Month', { exact: true })
  const day = () => page.getByLabel('Day', { exact: true })
  const rows = (name: string) => page.getByRole('region', { name }).locator('tbody tr')
  const cells = async (name: string) =>
    Promise.all((await rows(name).all()).map((row) => row.locator('th, td').allTextContents()))
  const commitment = (name: string) => page.getByRole('listitem').filter({ hasText: name })
  const fact = (name: string) => page.locator('.cost-total .fact', { hasText: name }).getByRole('definition')
  const before = (month: string) => new Date(Date.parse(month) - DAY_MS).toISOString().slice(0, 7)
  /** As a tab does that is looked at again, for the page to ask anew. */
  const askAnew = async () => {
    const asked = page.waitForResponse((response) => response.url().includes('/v1/costs'))
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
    await (await asked).finished()
  }

  test('tells of this month what the API tells', async () => {
    await page.getByRole('navigation').getByRole('link', { name: 'Costs' }).click()
    await rows('Costs by model').first().waitFor()
    expect(costs.total).toEqual({ usd: 0.0505, calls: 5, inputTokens: 50, outputTokens: 5, cachedTokens: 0 })
    expect(await fact('Cost').textContent()).toBe('$0.0505')
    expect(await fact('Cost').locator('span').getAttribute('title')).toBe('$0.0505')
    expect(await fact('Calls').textContent()).toBe('5')
    expect(await fact('Tokens in').textContent()).toBe('50')
    expect(await fact('Tokens out').textContent()).toBe('5')
    expect(await cells('Costs by model')).toEqual([['hello', '100 %', '$0.0505', '5', '50', '0', '5']])
    expect(await page.title()).toBe('Costs · Muster')
  })

  test('tells it by another name, the dearest first, whatever somebody is called', async () => {
    await by().selectOption('user')
    await rows('Costs by user').nth(1).waitFor()
    expect(hash()).toBe('#/costs?by=user&period=month')
    expect(await cells('Costs by user')).toEqual([
      ['ann', '60 %', '$0.0303', '3', '30', '0', '3'],
      [WRITTEN, '40 %', '$0.0202', '2', '20', '0', '2'],
    ])
    expect(await page.getByRole('main').locator('img').count()).toBe(0)
    await by().selectOption('team')
    await rows('Costs by team').nth(1).waitFor()
    expect((await cells('Costs by team')).map(([name]) => name)).toEqual(['blue', WRITTEN])
  })

  test('tells it by key, each a way to that key, whatever a keys file calls it', async () => {
    await by().selectOption('key')
    await rows('Costs by key').nth(1).waitFor()
    expect(hash()).toBe('#/costs?by=key&period=month')
    expect(await cells('Costs by key')).toEqual([
      ['ann', '60 %', '$0.0303', '3', '30', '0', '3'],
      ['stranger', '40 %', '$0.0202', '2', '20', '0', '2'],
    ])
    await page.route('**/v1/costs?by=key**', async (route) => {
      const response = await route.fetch()
      await route.fulfill({ response, body: (await response.text()).replace('"stranger"', JSON.stringify(HOSTILE)) })
    })
    await askAnew()
    const hostile = rows('Costs by key').nth(1).getByRole('link')
    await expect.poll(() => hostile.textContent()).toBe(WRITTEN)
    expect(await hostile.getAttribute('href')).toBe(`#/keys/${encodeURIComponent(HOSTILE)}`)
    expect(await page.getByRole('main').locator('img').count()).toBe(0)
    await page.unroute('**/v1/costs?by=key**')
    await rows('Costs by key').getByRole('link', { name: 'ann' }).click()
    await page.getByRole('heading', { name: 'ann' }).waitFor()
    expect(hash()).toBe('#/keys/ann')
  })

  test('leads to the runs of an agent, and to the keys of somebody', async () => {
    await page.goto(`${stack.url}/#/costs?by=agent`)
    await rows('Costs by agent').getByRole('link', { name: 'clerk' }).click()
    await page.getByRole('heading', { name: 'Runs' }).waitFor()
    expect(await page.getByLabel('Name').inputValue()).toBe('clerk')
    await page.goto(`${stack.url}/#/costs?by=user`)
    await rows('Costs by user').getByRole('link', { name: 'pay' }).click()
    await page.getByRole('link', { name: 'stranger' }).waitFor()
    expect(await page.getByRole('region', { name: 'Keys' }).locator('tbody tr').count()).toBe(1)
  })

  test('goes to other days and months, and the browser goes back and forth', async () => {
    const today = (await stack.muster.costs.list({ period: 'day' })).date
    const now = today.slice(0, 7)
    await page.goto(`${stack.url}/#/costs?by=user`)
    await month().waitFor()
    await expect.poll(() => month().inputValue()).toBe(now)
    await page.getByRole('link', { name: 'Previous month' }).click()
    await page.getByText(`No run used a model in ${before(now)}.`).waitFor()
    expect(hash()).toBe(`#/costs?by=user&period=month&date=${before(now)}`)
    expect(await month().inputValue()).toBe(before(now))
    await page.getByRole('link', { name: 'Next month' }).click()
    await rows('Costs by user').nth(1).waitFor()
    // It is over nowhere before now, and who steps with the keyboard stays where they are.
    const next = page.getByRole('link', { name: 'Next month' })
    expect(await next.getAttribute('aria-disabled')).toBe('true')
    expect(await next.evaluate((link) => link === document.activeElement)).toBe(true)
    await page.getByLabel('Period').selectOption('day')
    await expect.poll(() => day().inputValue()).toBe(today)
    await rows('Costs by user').nth(1).waitFor()
    await page.goBack()
    await expect.poll(() => month().inputValue()).toBe(now)
    await page.goBack()
    await page.getByText(`No run used a model in ${before(now)}.`).waitFor()
    await page.goForward()
    await rows('Costs by user').nth(1).waitFor()
    await page.goForward()
    await expect.poll(() => day().inputValue()).toBe(today)
    expect(hash()).toBe(`#/costs?by=user&period=day&date=${today}`)
    await page.reload()
    await rows('Costs by user').nth(1).waitFor()
    expect(await by().inputValue()).toBe('user')
    expect(await day().inputValue()).toBe(today)
  })

  test('draws the days of a month, as bars and as a table, and leads to each', async () => {
    await page.goto(`${stack.url}/#/costs?by=team`)
    const days = page.getByRole('region', { name: 'Day by day' })
    await days.waitFor()
    const used = costs.days.filter(({ calls }) => calls > 0)
    expect(await days.locator('.day').count()).toBe(costs.days.length)
    await days.getByText('As a table').click()
    const shown = await days.locator('tbody tr').allTextContents()
    expect(shown).toEqual(used.map(({ date, usd, calls }) => `${date}$${usd.toFixed(4)}${calls}`))
    const [first] = used
    await days.locator('.day', { hasText: new RegExp(`^\\s*${Number(first?.date.slice(8))}\\s*$`) }).click()
    await expect.poll(() => day().inputValue()).toBe(first?.date)
    expect(hash()).toBe(`#/costs?by=team&period=day&date=${first?.date}`)
    await rows('Costs by team').first().waitFor()
    expect(await days.count()).toBe(0)
  })

  test('never shows a late answer under what is asked for now', async () => {
    await page.goto(`${stack.url}/#/costs?by=model`)
    await rows('Costs by model').first().waitFor()
    const held = Promise.withResolvers<void>()
    const answered = Promise.withResolvers<void>()
    await page.route('**/v1/costs?by=user**', async (route) => {
      const response = await route.fetch()
      await held.promise
      // Whoever asked may have gone.
      await route.fulfill({ response }).catch(() => {})
      answered.resolve()
    })
    await by().selectOption('user')
    await page.getByText('Loading costs…').waitFor()
    expect(await page.getByRole('region', { name: /^Costs by/ }).count()).toBe(0)
    await by().selectOption('team')
    await rows('Costs by team').nth(1).waitFor()
    held.resolve()
    await answered.promise
    await askAnew()
    expect((await cells('Costs by team')).map(([name]) => name)).toEqual(['blue', WRITTEN])
    expect(await page.getByRole('region', { name: 'Costs by user' }).count()).toBe(0)
    await page.unroute('**/v1/costs?by=user**')
  })

  test('says what the server says is wrong, and keeps what it knows where an answer fails', async () => {
    await page.goto(`${stack.url}/#/costs?by=team&date=2026-13`)
    await page.getByRole('alert').getByText('date is a month such as 2026-11').waitFor()
    expect(complaints.splice(0)).toEqual([expect.stringContaining('400')])
    await page.goto(`${stack.url}/#/costs?by=team`)
    await rows('Costs by team').nth(1).waitFor()
    expect(await page.getByRole('alert').count()).toBe(0)
    await page.route('**/v1/costs?**', (route) => route.fulfill({ status: 503, json: { detail: 'Redis is away' } }))
    await askAnew()
    await page.getByRole('alert').getByText('Redis is away').waitFor()
    expect(await rows('Costs by team').count()).toBe(2)
    await page.unroute('**/v1/costs?**')
    await askAnew()
    await page.getByRole('alert').waitFor({ state: 'detached' })
    expect(complaints.splice(0)).toEqual([expect.stringContaining('503')])
  })

  test('tells of new costs by itself, and takes away neither focus nor what is typed', async () => {
    await page.goto(`${stack.url}/#/costs`)
    await expect.poll(() => fact('Calls').textContent()).toBe('5')
    await month().focus()
    await page.keyboard.press('Backspace')
    expect(await month().inputValue()).toBe('')
    await begin('late', { user: 'late', team: 'blue' }, 1)
    await callsOf(6)
    await askAnew()
    await expect.poll(() => fact('Calls').textContent()).toBe('6')
    expect(await month().inputValue()).toBe('')
    expect(await month().evaluate((field) => field === document.activeElement)).toBe(true)
    // What was begun and left is no date; the field has again what is shown.
    await by().focus()
    await expect.poll(() => month().inputValue()).toBe(costs.date)
    await month().fill(before(costs.date))
    await page.getByText(`No run used a model in ${before(costs.date)}.`).waitFor()
    expect(hash()).toBe(`#/costs?by=model&period=month&date=${before(costs.date)}`)
  })

  test('says in words how commitments go', async () => {
    const told = await stack.muster.costs.commitments()
    const { spentUsd = 0, usedUpOn } = told.find(({ name }) => name === 'small') ?? {}
    expect(spentUsd).toBeGreaterThanOrEqual(5 * CALL_USD)
    await page.goto(`${stack.url}/#/costs`)
    await page.reload()
    const over = `$${(spentUsd - 0.04).toFixed(4)}`
    await commitment('small').getByText(`All of it was used up on ${usedUpOn}, and ${over} more by now.`).waitFor()
    const small = await commitment('small').textContent()
    expect(small).toContain('small used up$0.0400 promised to 127.0.0.1')
    expect(small).toContain(`Leftnone, over by ${over}`)
    const large = await commitment('promised to').first().textContent()
    expect(large).toContain(`${WRITTEN} under-use`)
    expect(large).toContain('of it are not used by its end.')
    expect(large).toContain(`Left$${(100 - spentUsd).toFixed(2)}`)
    // Half of its time and a little, by the part of today that is over.
    expect(large).toMatch(
      /<?0\.1 % used, 50(\.\d)? % of its time gone: an even pace would be at the mark, \$50\.\d\d\./,
    )
    const bar = commitment('promised to').first().locator('.draw-down .even')
    expect(await bar.evaluate((mark) => Math.round(Number.parseFloat((mark as HTMLElement).style.left)))).toBe(50)
    expect(await commitment('next').textContent()).toContain(`It begins on ${dayIn(10)}.`)
  })

  test('has the fullest budget first, and says which is used up', async () => {
    const shown = await cells('Budgets')
    expect(shown.map(([name, window]) => [name?.trim(), window])).toEqual([
      [`user ${WRITTEN}`, 'runs a day'],
      ['key ann', 'runs a month'],
      ['tenant', 'money a month'],
      [`user ${WRITTEN}`, 'tokens a month'],
    ])
    expect(shown[0]?.slice(2, 6)).toEqual(['100 % used up', '2 of 2', '0', '0'])
    expect(shown[1]?.slice(2, 6)).toEqual(['37.5 %', '3 of 8', '0', '5'])
    expect(shown[3]?.slice(2, 6)).toEqual(['<0.1 %', '22 of 1,000,000', '0', '999,978'])
    expect(await page.getByRole('main').locator('img').count()).toBe(0)
    await rows('Budgets').getByRole('link', { name: 'ann' }).click()
    await page.getByRole('heading', { name: 'ann' }).waitFor()
    expect(hash()).toBe('#/keys/ann')
  })

  test('says which role it takes, and shows budgets all the same', async () => {
    if (!browser) throw new Error('no browser')
    const { key } = await stack.muster.keys.create({ user: 'visitor', roles: ['finance'] })
    const { page: other, complaints: others } = await openPage(browser)
    const asked: string[] = []
    other.on('request', (request) => asked.push(new URL(request.url()).pathname))
    await other.goto(`${stack.url}/#key=${key}`)
    await other.getByText('visitor').first().waitFor()
    await other.getByRole('navigation').getByRole('link', { name: 'Costs' }).click()
    await other.getByText('Seeing what models cost, and commitments, needs the role operator or auditor.').waitFor()
    await other.getByRole('region', { name: 'Budgets' }).getByText('used up').waitFor()
    expect(await other.getByRole('main').getByRole('link').count()).toBe(0)
    expect(asked).not.toContain('/v1/costs')
    expect(asked).not.toContain('/v1/commitments')
    expect(others).toEqual([])
  })

  test('is whole for an auditor', async () => {
    if (!browser) throw new Error('no browser')
    const { key } = await stack.muster.keys.create({ user: 'auditor', roles: ['auditor'] })
    const { page: other, complaints: others } = await openPage(browser)
    await other.goto(`${stack.url}/#key=${key}`)
    await other.getByText('auditor').first().waitFor()
    await other.goto(`${stack.url}/#/costs?by=user`)
    const ann = other.getByRole('region', { name: 'Costs by user' }).getByRole('link', { name: 'ann' })
    await ann.waitFor()
    await other.getByText('All of it was used up on').waitFor()
    await other.getByRole('region', { name: 'Budgets' }).getByText('used up').waitFor()
    expect(await other.getByRole('main').getByRole('button').count()).toBe(0)
    await ann.click()
    await other.getByRole('region', { name: 'Keys' }).getByRole('link', { name: 'ann' }).waitFor()
    expect(others).toEqual([])
  })

  test('fits a small screen', async () => {
    await page.setViewportSize({ width: 390, height: 800 })
    for (const query of ['by=team', 'by=team&period=day']) {
      await page.goto(`${stack.url}/#/costs?${query}`)
      await rows('Costs by team').first().waitFor()
      await commitment('small').waitFor()
      await rows('Budgets').first().waitFor()
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390)
    }
  })

  test('complained of nothing', () => {
    expect(complaints).toEqual([])
  })
})
