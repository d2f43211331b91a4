import { newContentKey } from '@muster/worker'
import { addKey } from './key-file.ts'
import { print } from './output.ts'

/** `muster erasure key`: makes a master key; with `rotate` before those that the file has, which go on opening. */
export function erasureKeyCommand(file: string, { json, rotate }: { json: boolean; rotate: boolean }): undefined {
  addKey(file, newContentKey(), rotate)
  if (json) print({ file })
  else console.log(`made a master key of content in ${file}: servers and workers need it (MUSTER_CONTENT_KEY_FILE)`)
}
