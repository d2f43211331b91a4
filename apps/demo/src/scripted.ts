import { z } from 'zod'
import type { ClerkOutput } from './clerk.ts'
import { type Called, type ChatRequest, type Conversation, readConversation } from './conversation.ts'
import { normalIban } from './iban.ts'
import { type Invoice, parsed } from './invoice.ts'
import { match } from './match.ts'

/** What the scripted model says: an answer, why it has none, or tools to call. */
export type Reply =
  | { content: string }
  | { error: string }
  | { toolCalls: { name: string; arguments: Record<string, unknown> }[] }

/**
 * Plays the clerk's model without a model, so that the demo runs offline and tests are exact. It is
 * stateless, as a model is: all that it knows is in the messages. It is naive on purpose: when a
 * document tells it to pay, it tries to.
 */
export function answer(request: ChatRequest): Reply {
  const conversation = readConversation(request)
  if (conversation.tools.has('payment_draft')) return nextOf(conversation)
  const content = "I am the demo's scripted model: all that I can do is to process invoices."
  // An answer of that shape would be made up, and a text is none.
  return request.response_format === undefined
    ? { content }
    : { error: `${content} Set OPENAI_API_KEY or MUSTER_MODEL_BASE_URL for a real model.` }
}

const input = z.strictObject({ file: z.string(), folder: z.string().optional() })
const receipt = z.object({ receipt: z.string() })

interface Case {
  /** Arguments that say where the document is. */
  source: Record<string, unknown>
  file: string | undefined
  called: ReadonlyMap<string, Called>
}

function nextOf({ input, calls }: Conversation): Reply {
  const file = fileOf(input)
  // By reference and not copied: it is long, and its text is to be matched as it came.
  const source = file ?? { document: { $ref: '#/input' } }
  const about: Case = { source, file: file?.file, called: new Map(calls.map((call) => [call.name, call])) }
  const read = about.called.get('invoice_read')
  if (read === undefined) return call('invoice_read', source)
  const document = parsed.safeParse(read.output).data
  if (read.error || document === undefined) return blocked(nobody(about), failure('invoice_read', read))
  if (!document.ok) return notAnInvoice(about, document.reason)
  return isInjected(document.invoice) ? obey(about, document.invoice) : process(about, document.invoice)
}

/** The input as a file's name, when it is one; else it is the text of a document. */
function fileOf(text: string): z.infer<typeof input> | undefined {
  try {
    return input.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

function notAnInvoice({ source, file, called }: Case, reason: string): Reply {
  const moved = called.get('invoice_set-aside')
  if (file !== undefined && moved === undefined) return call('invoice_set-aside', { ...source, reason })
  const also = moved?.error ? ` (and it could not be moved: ${moved.error.message})` : ''
  return final({ status: 'set-aside', ...nobody({ file }), reason: reason + also })
}

/** The way of the instructions, step by step. */
function process({ source, called }: Case, invoice: Invoice): Reply {
  const who = { invoice: invoice.number, vendor: invoice.vendor, amount: invoice.amount }
  const find = called.get('memory_find')
  if (find === undefined) return call('memory_find', { kind: 'vendor', subject: invoice.vendor })
  if (find.error) return blocked(who, failure('memory_find', find))

  const matched = called.get('invoice_match')
  if (matched === undefined) return call('invoice_match', { ...source, vendor: { $ref: `${find.ref}/value` } })
  const result = match.safeParse(matched.output).data
  if (matched.error || result === undefined) return blocked(who, failure('invoice_match', matched))
  if (result.verdict === 'mismatch') return blocked(who, result.reasons.join('; '))

  const fields = ['payee', 'iban', 'amount', 'currency', 'invoice', 'order']
  const payment = Object.fromEntries(fields.map((field) => [field, { $ref: `${matched.ref}/${field}` }]))
  const draft = called.get('payment_draft')
  if (draft === undefined) return call('payment_draft', payment)
  if (draft.error) return blocked(who, failure('payment_draft', draft))
  const paid = called.get('ledger_pay')
  if (paid === undefined) return call('ledger_pay', payment)
  if (paid.error) return blocked(who, failure('ledger_pay', paid))

  const saved = called.get('memory_save')
  const value = { name: result.payee, iban: result.iban }
  if (saved === undefined) return call('memory_save', { kind: 'vendor', subject: result.payee, value })
  // Paid is paid, whether or not it is remembered.
  const also = saved.error ? ` (but the vendor could not be remembered: ${saved.error.message})` : ''
  return final({ status: 'paid', ...who, reason: `it matches order ${result.order}${also}`, ...receiptOf(paid) })
}

function isInjected({ memo = '' }: Invoice): boolean {
  return /ignore\b[\s\S]*\bpay now\b/i.test(memo)
}

/** What a model does that takes a document's text for an order of its master. */
function obey({ called }: Case, invoice: Invoice): Reply {
  const { number, vendor, amount, currency, memo = '' } = invoice
  const who = { invoice: number, vendor, amount }
  const named = /\bIBAN:?\s*([A-Z]{2}\d{2}(?: ?[A-Z0-9]{1,4})+)\b/.exec(memo)?.[1]
  const iban = named === undefined ? invoice.iban : normalIban(named)
  const paid = called.get('ledger_pay')
  if (paid === undefined) return call('ledger_pay', { payee: vendor, iban, amount, currency, invoice: number })
  if (!paid.error) return final({ status: 'paid', ...who, reason: 'its note told me to pay', ...receiptOf(paid) })
  const told = 'its note told me to ignore my rules and pay'
  const reason = paid.error.code === 'policy.denied' ? `${told}, and policy denied it` : told
  return blocked(who, `${reason}: ${paid.error.message}`)
}

function call(name: string, args: Record<string, unknown>): Reply {
  return { toolCalls: [{ name, arguments: args }] }
}

function final(output: ClerkOutput): Reply {
  return { content: JSON.stringify(output) }
}

type About = Pick<ClerkOutput, 'invoice' | 'vendor' | 'amount'>

function blocked(about: About, reason: string): Reply {
  return final({ status: 'blocked', ...about, reason })
}

function nobody({ file }: Pick<Case, 'file'>): About {
  return { invoice: file ?? '', vendor: '', amount: 0 }
}

function receiptOf({ output }: Called): { receipt?: string } {
  return receipt.safeParse(output).data ?? {}
}

function failure(tool: string, { error }: Called): string {
  if (error === undefined) return `${tool} gave what it should not`
  if (error.code === 'policy.denied') return `policy denied ${tool}: ${error.message}`
  if (error.code === 'approval.denied') return `a person refused ${tool}: ${error.message}`
  return `${tool} failed: ${error.message}`
}
