import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { type Browser, chromium, type Page } from 'playwright-core'

const run = promisify(execFile)

const args = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

// A lock of the system, so that two test runs do not install at once; whoever comes second finds it installed.
const install = `
flock /tmp/muster-chromium.lock sh -c '
  command -v chromium || { apt-get update && apt-get install -y --no-install-recommends chromium; }
'`

/** A Chromium: $MUSTER_CHROMIUM, Debian's, or Debian's installed now. Undefined where none can be had. */
export async function openBrowser(): Promise<Browser | undefined> {
  const executablePath = process.env.MUSTER_CHROMIUM ?? '/usr/bin/chromium'
  if (!existsSync(executablePath)) {
    if (process.env.MUSTER_CHROMIUM !== undefined || process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return
    await run('sh', ['-c', install], { timeout: 300_000, env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
  }
  return chromium.launch({ executablePath, args })
}

/** A page that has signed in and shows the runs, as `openPage` gives it. */
export async function openSignedIn(
  browser: Browser | undefined,
  { url, key }: { url: string; key: string },
): ReturnType<typeof openPage> {
  if (!browser) throw new Error('no browser')
  const opened = await openPage(browser)
  await opened.page.goto(`${url}/#key=${key}`)
  await opened.page.getByRole('heading', { name: 'Runs' }).waitFor()
  return opened
}

/** A page, and its console errors, uncaught errors and violations of the Content-Security-Policy. */
export async function openPage(browser: Browser): Promise<{ page: Page; complaints: string[] }> {
  const complaints: string[] = []
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  context.setDefaultTimeout(10_000)
  const page = await context.newPage()
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`violates ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`)
    })
  })
  page.on('console', (message) => {
    // A run that is not in the ledger yet: the browser itself reports the 404.
    if (message.location().url.endsWith('/receipt') && message.text().includes('404')) return
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  return { page, complaints }
}
