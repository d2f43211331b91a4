/** One thing that is wrong with an export. */
export interface ExportFinding {
  code: string
  file: string
  run?: string
  seq?: number
  leaf?: number
  message: string
}

export interface ExportVerification {
  ok: boolean
  findings: ExportFinding[]
  /** What a reader has to know besides. */
  notes: string[]
  fingerprint?: string
  scope: { kind: 'tenant' } | { kind: 'range'; since?: number; until?: number } | { kind: 'run'; run: string }
  tenant?: string
  origin?: string
  size?: number
  runs: number
  entries: number
  /** What was done besides runs, and how often each. */
  records: number
  actions: Record<string, number>
  erased: number
  redacted: Record<string, number>
  policies: number
  signers: { name: string; id: string; witness: boolean; at?: number }[]
  /** Whose keys were given, and who signed the manifest. */
  exporters: { name: string; id: string }[]
}

export interface VerifyOptions {
  /** Keys to trust, as vkeys; the export's own without them. */
  keys?: readonly string[]
  /** Keys of which one must have signed the manifest. */
  exporterKeys?: readonly string[]
  /** Files of checkpoints that were kept from earlier. */
  older?: readonly string[]
  /** Files of receipts that were kept (C2SP tlog-proof). */
  receipts?: readonly string[]
  /** SHA-256 of the manifest, as it was told when it was exported. */
  fingerprint?: string
  /** Threads in which journals are checked: as many as the machine can run and the export is worth, unless given. */
  threads?: number
}

/** There is nothing here that could be checked. */
export class NotAnExport extends Error {}

export function verifyExport(folder: string, options?: VerifyOptions): ExportVerification
export function summaryOf(result: ExportVerification): string
/** Runs as a command; gives the exit code. */
export function main(args: readonly string[]): number
