import { z } from 'zod'

/** A leaf of a tenant's ledger: what a run's journal had come to. The ledger holds it as JSON text. */
export const ledgerLeaf = z.object({
  v: z.literal(1),
  run: z.string(),
  seq: z.number().int().positive().describe('its last entry'),
  head: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe("that entry's hash"),
  at: z.number().int().describe('when it entered, ms'),
  state: z.enum(['running', 'parked', 'ended']),
})
export type LedgerLeaf = z.infer<typeof ledgerLeaf>

/** That a run's head is in its tenant's ledger. */
export const ledgerReceipt = z.object({
  run: z.string(),
  leaf: z.string().describe('the leaf, exactly as it was hashed'),
  index: z.number().int().nonnegative().describe('its place in the ledger'),
  inclusion: z.array(z.string()).describe('proof of inclusion (RFC 6962), base64, from the leaf to the root'),
  checkpoint: z.string().describe('signed checkpoint that the proof is for (C2SP tlog-checkpoint)'),
  origin: z.string().describe('name of the ledger'),
  keys: z.array(z.string()).describe('keys that signed the checkpoint, as vkeys; compare them with those you trust'),
})
export type LedgerReceipt = z.infer<typeof ledgerReceipt>

/** A tenant's ledger as it is now. */
export const ledgerHead = z.object({
  origin: z.string(),
  size: z.number().int().nonnegative().describe('leaves'),
  root: z.string().describe('base64'),
  checkpoint: z.string(),
  keys: z.array(z.string()),
})
export type LedgerHead = z.infer<typeof ledgerHead>

/** That the ledger only grew from one size to another. */
export const ledgerConsistency = z.object({
  from: z.number().int(),
  to: z.number().int(),
  proof: z.array(z.string()).describe('proof of consistency (RFC 6962), base64'),
})
export type LedgerConsistency = z.infer<typeof ledgerConsistency>
