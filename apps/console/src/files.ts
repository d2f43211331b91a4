import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const web = new URL('./web/', import.meta.url)

/** Libraries that the import map in index.html names. */
const libraries = {
  'preact.mjs': 'preact',
  'hooks.mjs': 'preact/hooks',
  'htm.mjs': 'htm',
}

/**
 * Every file of the console by the name that its address ends with. A server that serves these names and no
 * others cannot be talked into another file.
 */
export function consoleFiles(): Map<string, string> {
  const files = new Map<string, string>()
  for (const name of readdirSync(web)) {
    if (!name.endsWith('.test.ts')) files.set(name, fileURLToPath(new URL(name, web)))
  }
  for (const [name, specifier] of Object.entries(libraries)) {
    files.set(name, fileURLToPath(import.meta.resolve(specifier)))
  }
  return files
}
