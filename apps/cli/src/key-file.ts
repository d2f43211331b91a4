import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { MusterError } from '@muster/protocol'

/** Writes a new key into a file of keys; with `rotate` before those that it has. @throws MusterError `config.invalid` */
export function addKey(file: string, key: string, rotate: boolean): void {
  const there = existsSync(file)
  if (there && !rotate)
    throw new MusterError('config.invalid', `${file} is there already: --rotate adds a key to those that it has`)
  const before = there ? readFileSync(file, 'utf8') : ''
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  writeFileSync(file, key + before, { mode: 0o600 })
  chmodSync(file, 0o600)
}
