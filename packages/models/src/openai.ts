import { PDF } from './parts.ts'
import type { Provider } from './provider.ts'

/** What is known of OpenAI's two ways of speaking before its SDK is loaded, which has more than two hundred files. */

export const CHAT: Omit<Provider, 'complete'> = {
  settings: ['maxTokens', 'temperature', 'topP', 'stop', 'seed', 'toolChoice', 'parallelToolCalls', 'effort'],
  media: { urls: true, files: [PDF], results: false },
}

export const RESPONSES: Omit<Provider, 'complete'> = {
  settings: ['maxTokens', 'temperature', 'topP', 'toolChoice', 'parallelToolCalls', 'effort'],
  media: { urls: true, files: [PDF, 'text/plain', 'text/markdown', 'text/csv', 'text/html'], results: true },
}
