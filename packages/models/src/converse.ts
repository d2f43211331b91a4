import { PDF } from './parts.ts'
import type { Provider } from './provider.ts'

/** What is known of Converse before AWS's SDK is loaded, which takes a fifth of a second. */

/** Types of files, as Converse names them. */
export const FORMATS = {
  [PDF]: 'pdf',
  'text/plain': 'txt',
  'text/markdown': 'md',
  'text/csv': 'csv',
  'text/html': 'html',
  'application/msword': 'doc',
  'application/vnd.openxmlformats-officedocument.wordprocessingml.document': 'docx',
  'application/vnd.ms-excel': 'xls',
  'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet': 'xlsx',
} as const

export const CONVERSE: Omit<Provider, 'complete' | 'embed'> = {
  settings: ['maxTokens', 'temperature', 'topP', 'stop', 'toolChoice'],
  media: { urls: false, files: Object.keys(FORMATS), filesMax: 5, results: true },
}
