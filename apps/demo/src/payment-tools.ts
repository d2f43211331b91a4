import { tool } from '@muster/sdk'
import { z } from 'zod'
import { demoHome } from './demo-home.ts'
import { writeDraft } from './draft.ts'
import { findPayment, pay, payment } from './ledger.ts'

export const draftPayment = tool({
  name: 'payment.draft',
  description: 'Writes a draft of a payment, for the books.',
  effect: 'write',
  input: payment,
  output: z.object({ draft: z.string() }),
  run: (input, { idempotencyKey }) => writeDraft(demoHome().drafts, input, idempotencyKey),
})

export const payLedger = tool({
  name: 'ledger.pay',
  description: 'Pays. Takes every value by reference from the output of invoice.match.',
  effect: 'once',
  input: payment,
  output: z.object({ receipt: z.string() }),
  run: async (input, { idempotencyKey }) => {
    const { receipt } = await pay(demoHome().ledger, input, idempotencyKey)
    return { receipt }
  },
  reconcile: async ({ idempotencyKey }) => {
    const found = await findPayment(demoHome().ledger, idempotencyKey)
    return found && { receipt: found.receipt }
  },
})
