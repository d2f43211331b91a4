import type { PlanData } from '@muster/protocol'
import { createMuster } from '@muster/sdk'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HOSTILE } from './test-app.ts'
import { openBrowser, openPage, openSignedIn } from './test-browser.ts'
import { startTestStack, type TestStack } from './test-stack.ts'

const browser = await openBrowser()
if (!browser) console.warn('SKIPPED: without a browser. Install chromium, or set MUSTER_CHROMIUM.')

describe.skipIf(!browser)('the page for API keys, in a browser', () => {
  let stack: TestStack
  let page: Page
  let complaints: string[]

  beforeAll(async () => {
    stack = await startTestStack()
    ;({ page, complaints } = await openSignedIn(browser, stack))
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: stack.url })
  }, 120_000)

  afterAll(async () => {
    await browser?.close()
    await stack?.stop()
  }, 60_000)

  const secret = () => page.getByRole('region', { name: /^The secret of/ })
  const refusals = (status: number) => expect(complaints.splice(0)).toEqual([expect.stringContaining(String(status))])
  const works = async (key: string) =>
    (await fetch(`${stack.url}/v1/me`, { headers: { authorization: `Bearer ${key}` } })).status

  /** Everything where a secret could stay behind. */
  const left = () =>
    page.evaluate(() =>
      [
        document.documentElement.outerHTML,
        ...[location.href, document.title, JSON.stringify(history.state)],
        ...[JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })],
      ].join('\n'),
    )

  test('says at each field what is wrong with it', async () => {
    await page.getByRole('navigation').getByRole('link', { name: 'Keys' }).click()
    await page.getByRole('link', { name: 'New key' }).click()
    const form = page.getByRole('form', { name: 'New key' })
    await form.getByLabel('User').fill('ann')
    await form.getByLabel('Name of the key').fill('-ann')
    await form.getByLabel('Budget: US$ a day').fill('-1')
    await form.getByRole('button', { name: 'Make the key' }).click()
    await form.getByText('See what is said at the fields').waitFor()
    expect(await form.getByLabel('Name of the key').getAttribute('aria-invalid')).toBe('true')
    expect(await form.getByLabel('Name of the key').evaluate((field) => field === document.activeElement)).toBe(true)
    expect(await form.locator('.field', { hasText: 'Name of the key' }).textContent()).toContain('begins with a letter')
    expect(await form.getByLabel('Budget: US$ a day').getAttribute('aria-invalid')).toBe('true')
    expect(await form.locator('[aria-invalid]').count()).toBe(2)
    refusals(400)
  })

  test('makes a key, shows its secret once, and keeps it nowhere', async () => {
    const form = page.getByRole('form', { name: 'New key' })
    await form.getByLabel('Name of the key').fill('ann')
    await form.getByLabel('Budget: US$ a day').fill('2.5')
    await form.getByLabel('Team').fill('payments')
    await form.getByLabel('auditor').check()
    await form.getByLabel('Other roles').fill('controller, finance')
    await form.getByLabel('Routes of the gateway').fill('gpt-5*')
    await form.getByLabel('Labels').fill('pii')
    await form.getByLabel('Note').fill(HOSTILE)
    await form.getByRole('button', { name: 'Expires in 30 days' }).click()
    await form.getByLabel('Note').press('Enter')
    await secret().getByText('It is shown now and never again.').waitFor()
    const text = (await secret().getByRole('code').textContent()) ?? ''
    expect(await works(text)).toBe(200)
    // Where it is read, and in nothing else that is there.
    expect((await left()).split(text.slice(4)).length - 1).toBe(1)
    await secret().getByRole('button', { name: 'Copy the secret' }).click()
    await secret().getByText('Copied.').waitFor()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(text)
    await secret().getByRole('button', { name: 'Done' }).click()
    await page.getByRole('link', { name: 'ann', exact: true }).click()
    await page.getByText('Secret ends with').waitFor()
    expect(await left()).not.toContain(text.slice(4))
    expect(await page.getByRole('main').textContent()).toContain('onerror="document.title=1"> pay \\u202e0001')
    expect(await stack.muster.keys.get('ann')).toMatchObject({
      ...{ user: 'ann', team: 'payments', roles: ['auditor', 'controller', 'finance'] },
      ...{ gateway: { routes: ['gpt-5*'], labels: ['pii'] }, expiresAt: expect.any(Number) },
      budgets: [{ period: 'day', limits: { usd: 2.5 } }],
    })
  })

  test('changes what was touched and nothing else', async () => {
    const before = await stack.muster.keys.get('ann')
    await page.getByText('Change', { exact: true }).click()
    const form = page.getByRole('form', { name: 'Change the key' })
    await form.getByRole('button', { name: 'Save' }).click()
    await form.getByText('Nothing is changed.').waitFor()
    await form.getByLabel('Labels').fill('')
    await form.getByLabel('Team').fill('')
    const answered = page.waitForResponse((response) => response.request().method() === 'PATCH')
    await form.getByRole('button', { name: 'Save' }).click()
    expect((await answered).request().postDataJSON()).toEqual({ gateway: { routes: ['gpt-5*'] }, team: null })
    const after = await stack.muster.keys.get('ann')
    expect(after.team).toBeUndefined()
    expect(after).toMatchObject({ expiresAt: before.expiresAt, roles: before.roles, note: before.note })
  })

  test('leaves what its fields cannot show as it is', async () => {
    const odd = { roles: ['a,b'], gateway: { routes: [], labels: ['x, y'] }, expiresAt: 8e15, team: ' spaced ' }
    await stack.muster.keys.create({ id: 'odd', user: 'odd', ...odd })
    await page.goto(`${stack.url}/#/keys/odd`)
    await page.getByText('Change', { exact: true }).click()
    const form = page.getByRole('form', { name: 'Change the key' })
    await form.getByLabel('Note').fill('new')
    const answered = page.waitForResponse((response) => response.request().method() === 'PATCH')
    await form.getByRole('button', { name: 'Save' }).click()
    await answered
    expect(await stack.muster.keys.get('odd')).toMatchObject({ ...odd, note: 'new' })
    await stack.muster.keys.revoke('odd')
    await page.goto(`${stack.url}/#/keys/ann`)
  })

  test('rotates a key: the secret before ends when it is said, and a new one is shown', async () => {
    const { key: old } = await stack.muster.keys.rotate('ann', { graceMs: 0 })
    await page.reload()
    await page.getByText('Rotate', { exact: true }).first().click()
    const form = page.getByRole('form', { name: 'Rotate the key' })
    await form.getByLabel('The secret before holds').selectOption('not at all: after a leak')
    await form.getByRole('button', { name: 'Rotate' }).click()
    const text = (await secret().getByRole('code').textContent()) ?? ''
    expect(await works(text)).toBe(200)
    await expect.poll(() => works(old)).toBe(401)
    await secret().getByRole('button', { name: 'Done' }).click()
    await page.getByText('Rotated').waitFor()
    expect(await left()).not.toContain(text.slice(4))
  })

  test('revokes a key only by its name, and tells who has it open why they are signed out', async () => {
    if (!browser) throw new Error('no browser')
    const other = await openPage(browser)
    const { key } = await stack.muster.keys.rotate('ann')
    await other.page.goto(`${stack.url}/#key=${key}`)
    await other.page.getByRole('heading', { name: 'Runs' }).waitFor()
    await page.getByText('Revoke', { exact: true }).click()
    const form = page.getByRole('form', { name: 'Revoke the key' })
    const button = form.getByRole('button', { name: 'Revoke for good' })
    await form.getByLabel('To revoke it, type ann').fill('an')
    expect(await button.isDisabled()).toBe(true)
    await form.getByLabel('To revoke it, type ann').fill('ann')
    await button.click()
    await page.getByText('It was revoked, and stays so.').waitFor()
    expect(await page.getByRole('form').count()).toBe(0)
    await other.page.getByText('The API key "ann" was revoked').waitFor()
    await other.page.getByLabel('API key').waitFor()
  })

  test('finds keys by what is known of them and by their state', async () => {
    await stack.muster.keys.create({ id: 'soon', user: 'sam', expiresAt: Date.now() + 3 * 24 * 3_600_000 })
    await page.goto(`${stack.url}/#/keys?state=expiring`)
    const rows = page.getByRole('region', { name: 'Keys' }).locator('tbody tr')
    await page.getByRole('link', { name: 'soon' }).waitFor()
    expect(await rows.count()).toBe(1)
    await page.getByLabel('State').selectOption('revoked')
    await page.getByRole('link', { name: 'ann', exact: true }).waitFor()
    expect(await rows.count()).toBe(2)
    await page.getByLabel('State').selectOption('')
    await page.getByLabel('Find').fill('SAM')
    await page.getByLabel('Find').press('Enter')
    await page.getByText('1 of the 4 keys looked at').waitFor()
    await page.getByRole('link', { name: 'soon' }).click()
    await page.goBack()
    await page.getByText('1 of the 4 keys looked at').waitFor()
    await page.getByLabel('Find').fill('nobody has this')
    await page.getByLabel('Find').press('Enter')
    await page.getByText('No key is like this.').waitFor()
  })

  test('lets an auditor see, and tells others which role it takes', async () => {
    if (!browser) throw new Error('no browser')
    const signIn = async (roles: string[]) => {
      const { key } = await stack.muster.keys.create({ user: 'visitor', roles })
      const { page: other } = await openPage(browser)
      await other.goto(`${stack.url}/#key=${key}`)
      await other.getByText('visitor').first().waitFor()
      await other.goto(`${stack.url}/#/keys`)
      return other
    }
    const auditor = await signIn(['auditor'])
    await auditor.getByText('Making and changing keys needs the role admin.').waitFor()
    expect(await auditor.getByRole('link', { name: 'New key' }).count()).toBe(0)
    await auditor.getByRole('link', { name: 'soon' }).click()
    await auditor.getByText('Changing, rotating and revoking keys needs the role admin.').waitFor()
    expect(await auditor.getByRole('form').count()).toBe(0)
    const other = await signIn(['finance'])
    await other.getByRole('alert').getByText('This needs the role "admin" or "auditor"').waitFor()
  })

  test('tells a key without a role what it is for, in place of pages that it is not shown', async () => {
    if (!browser) throw new Error('no browser')
    const { key } = await stack.muster.keys.create({ id: 'plain', user: 'una' })
    const theirs = await stack.muster.runs.start({ steps: { wait: { sleepMs: 600_000 } } } as PlanData, {})
    const own = await createMuster({ url: stack.url, key }).runs.start(
      { steps: { nap: { sleepMs: 0 } } } as PlanData,
      {},
    )
    const { page: other, complaints: heard } = await openPage(browser)
    await other.goto(`${stack.url}/#key=${key}`)
    await other.getByText('una').first().waitFor()
    await other.locator('tbody tr').first().waitFor()
    expect(await other.locator('tbody tr').count()).toBe(1)
    for (const [name, role] of [
      ['approvals', 'operator'],
      ['audit', 'auditor'],
      ['keys', 'admin or auditor'],
      ['keys/plain', 'admin or auditor'],
    ] as const) {
      await other.goto(`${stack.url}/#/${name}`)
      await other.getByText('This key has no role: it is for the runs of una alone.').waitFor()
      await other.getByText(`The role ${role} lets in here, and who has admin can give it.`).waitFor()
      expect(await other.getByRole('alert').count()).toBe(0)
    }
    await other.goto(`${stack.url}/#/runs/${own.id}`)
    await other.getByText('Journal, ').waitFor()
    expect(await other.getByText('Records about it').count()).toBe(0)
    expect(heard).toEqual([])
    await other.goto(`${stack.url}/#/runs/${theirs.id}`)
    await other.getByRole('alert').getByText(`There is no run ${theirs.id}`).waitFor()
    await other.goto(`${stack.url}/#/audit`)
    await other.getByText('This key has no role').waitFor()
    await stack.muster.keys.change('plain', { roles: ['auditor'] })
    // It is asked for again when somebody comes back to the tab, and now and then.
    const hasRole = async () => {
      await other.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
      return other.getByRole('heading', { name: 'Record book' }).isVisible()
    }
    await expect.poll(hasRole, { timeout: 10_000 }).toBe(true)
    await stack.muster.runs.cancel(theirs.id)
    await stack.muster.keys.revoke('plain')
  })

  test('fits a small screen', async () => {
    await page.setViewportSize({ width: 390, height: 800 })
    for (const [hash, name] of [
      ['#/keys', 'Keys'],
      ['#/keys?make', 'New key'],
      ['#/keys/soon', 'soon'],
    ] as const) {
      await page.goto(`${stack.url}/${hash}`)
      await page.getByRole('heading', { name }).waitFor()
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390)
    }
  })

  test('complained of nothing', () => {
    expect(complaints).toEqual([])
  })
})
