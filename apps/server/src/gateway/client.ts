import { hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Dialect } from '@muster/models'
import { type Label, label, MusterError } from '@muster/protocol'
import { z } from 'zod'

/** Who speaks, as far as headers tell: refusals are put so that each can show them. */
export type ClientName = 'codex' | 'claude-code' | 'openai-sdk' | 'anthropic-sdk' | 'other'

const SESSION_MAX = 128
/** Headers in which clients say it: Codex, others, Claude Code. */
const SESSION_HEADERS = ['session-id', 'session_id', 'x-session-id', 'x-claude-code-session-id']

export function clientOf(headers: IncomingHttpHeaders): ClientName {
  const agent = headers['user-agent'] ?? ''
  const isCodex = /^codex/.test(String(headers.originator ?? '')) || agent.startsWith('codex')
  if (isCodex || headers['x-codex-turn-metadata'] !== undefined) return 'codex'
  if (agent.startsWith('claude-cli')) return 'claude-code'
  if (/^(Async)?OpenAI\//.test(agent)) return 'openai-sdk'
  if (/^(Async)?Anthropic\//.test(agent)) return 'anthropic-sdk'
  return 'other'
}

/** The conversation that a client says a request is of: of this user, so that nobody joins another's. */
export function sessionOf(headers: IncomingHttpHeaders, user: string): string | undefined {
  const name = SESSION_HEADERS.find((name) => headers[name] !== undefined)
  const given = name && headers[name]
  return typeof given !== 'string' || given === '' ? undefined : ownSession(user, given)
}

/** A session as its runs have it. */
export function ownSession(user: string, given: string): string {
  const session = `${user}/${given}`
  return session.length <= SESSION_MAX ? session : `${user.slice(0, 64)}/${hash('sha256', session, 'hex').slice(0, 32)}`
}

const labels = z.array(label).max(50)

/** What a request is labelled: by its key, and by what its client adds (`x-muster-labels: pii,internal`). */
export function labelsOf(headers: IncomingHttpHeaders, ofKey: readonly Label[] = []): Label[] {
  const given = headers['x-muster-labels']
  if (given === undefined) return [...new Set(ofKey)].sort()
  const names = String(given)
    .split(',')
    .map((name) => name.trim())
  const added = labels.safeParse(names.filter((name) => name !== ''))
  if (!added.success)
    throw new MusterError('request.invalid', 'x-muster-labels: labels of 64 characters at most, 50 of them at most', {
      issues: [{ path: '/x-muster-labels', message: 'labels of 64 characters at most, 50 of them at most' }],
    })
  return [...new Set([...ofKey, ...added.data])].sort()
}

/** What of a client's headers its vendor is to see. */
const PASSED = ['openai-beta', 'anthropic-beta', 'anthropic-version'] as const

export function passedOn(headers: IncomingHttpHeaders): Record<string, string> {
  const passed: Record<string, string> = {}
  for (const name of PASSED) {
    const value = headers[name]
    if (typeof value === 'string') passed[name] = value
  }
  return passed
}

/** What ids of answers begin with. */
export const PREFIXES: Record<Dialect, string> = {
  chat: 'chatcmpl-',
  responses: 'resp_',
  messages: 'msg_',
  embeddings: 'emb_',
}
