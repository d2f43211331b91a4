import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Where below a folder one of these words stands, by what it is called; whoever reads the file would know it. */
export function findWords(dir: string, words: Readonly<Record<string, string>>): string[] {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((file) => file.isFile())
  return files.flatMap(({ parentPath, name }) => {
    const bytes = readOrNone(join(parentPath, name))
    return Object.entries(words)
      .filter(([, word]) => bytes.includes(word))
      .map(([what]) => `${what} stands in ${join(parentPath, name).slice(dir.length + 1)}`)
  })
}

/** A store that is still open moves its files. */
function readOrNone(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch {
    return Buffer.alloc(0)
  }
}
