import { randomUUID } from 'node:crypto'
import { cp, mkdir, rename, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where the demo keeps what changes. All paths are absolute. */
export interface DemoHome {
  /** Invoices to process: the folder to which you add your own. */
  inbox: string
  /** Files that are no invoices, each with its reason. */
  setAside: string
  /** Payments, one JSON object a line. */
  ledger: string
  /** Payment drafts, one file each. */
  drafts: string
}

/** The documents that the demo ships: `invoices/`, `orders.json`, `receipts.json`. */
export const documents = fileURLToPath(new URL('../documents', import.meta.url))

/** The paths under a Muster home; without one, under that of the environment. */
export function demoHome(musterHome = process.env.MUSTER_HOME): DemoHome {
  const root = resolve(musterHome || '.muster', 'demo')
  return {
    inbox: join(root, 'inbox'),
    setAside: join(root, 'set-aside'),
    ledger: join(root, 'ledger.jsonl'),
    drafts: join(root, 'drafts'),
  }
}

/**
 * Fills the inbox with the demo's invoices, once: where an inbox is, nothing is touched.
 *
 * @param musterHome the folder that `MUSTER_HOME` names
 */
export async function prepareDemo(musterHome?: string): Promise<{ inbox: string }> {
  const { inbox } = demoHome(musterHome)
  if (await exists(inbox)) return { inbox }
  // Copied beside and renamed, so that a start that is cut off leaves no half of an inbox.
  const copy = `${inbox}.${randomUUID()}`
  await mkdir(copy, { recursive: true })
  try {
    await cp(join(documents, 'invoices'), copy, { recursive: true })
    await rename(copy, inbox)
  } catch (error) {
    await rm(copy, { recursive: true, force: true })
    // Another process was faster.
    if (!(await exists(inbox))) throw error
  }
  return { inbox }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
