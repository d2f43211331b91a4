import { readFile, stat } from 'node:fs/promises'
import { MusterError } from '@muster/sdk'
import { fileIn } from './folder.ts'
import { noInvoice, type Parsed } from './invoice.ts'
import { parseJsonInvoice } from './json-invoice.ts'
import { parseTextInvoice } from './text-invoice.ts'
import { parseUbl } from './ubl.ts'

const BYTES_MAX = 5_000_000

/** Where an invoice is: a file in a folder, or its text itself. */
export interface DocumentSource {
  file?: string | undefined
  /** The inbox unless given. */
  folder?: string | undefined
  document?: string | undefined
}

/**
 * Reads a document as an invoice, or says in one line why it is none.
 *
 * @throws MusterError `input.invalid` when there is no such file, or it lies outside of the folder
 */
export async function readDocument({ file, folder, document }: DocumentSource, inbox: string): Promise<Parsed> {
  if (document !== undefined && file === undefined) return parseDocument(document)
  if (file === undefined || document !== undefined) {
    throw new MusterError('input.invalid', 'give either a file or a document')
  }
  const path = await fileIn(folder ?? inbox, file)
  if ((await stat(path)).size > BYTES_MAX) return noInvoice('the file is larger than 5 MB')
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path))
  } catch (error) {
    // What else is thrown here is a TypeError of the decoder.
    if (error instanceof Error && 'syscall' in error) throw error
    return noInvoice('the file is not text in UTF-8')
  }
  return parseDocument(text)
}

/** The format is told by how the text begins, because names of files lie. */
export function parseDocument(text: string): Parsed {
  const begin = text.trimStart()
  if (begin === '') return noInvoice('the document is empty')
  if (begin.includes('\0')) return noInvoice('the document is not text')
  if (begin.startsWith('<')) return parseUbl(begin)
  if (begin.startsWith('{') || begin.startsWith('[')) return parseJsonInvoice(begin)
  return parseTextInvoice(text)
}
