import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { type Browser, chromium } from 'playwright-core'

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
