import { dbos } from '../peers/dbos.ts'
import { restate } from '../peers/restate.ts'
import { archive, rawItems } from './archive.ts'
import { bullmqBacklog, bullmqEnqueue, musterBacklog, musterEnqueue } from './backlog.ts'
import { bullmqChain, bullmqFlow, bullmqProgress } from './bullmq.ts'
import { gateway } from './gateway.ts'
import { graph } from './graph.ts'
import { ledgerExport, ledgerLeaves, ledgerProofs, ledgerSealer, sha256 } from './ledger.ts'
import { muster } from './muster.ts'
import { policy } from './policy.ts'
import { rawAppend } from './raw.ts'
import { auditSearch } from './search.ts'

/** What can be measured, by the name that is given to its process. */
export const subjects = {
  muster,
  'muster-backlog': musterBacklog,
  'muster-enqueue': musterEnqueue,
  'bullmq-chain': bullmqChain,
  'bullmq-progress': bullmqProgress,
  'bullmq-flow': bullmqFlow,
  'bullmq-backlog': bullmqBacklog,
  'bullmq-enqueue': bullmqEnqueue,
  'raw-append': rawAppend,
  policy,
  graph,
  gateway,
  'ledger-leaves': ledgerLeaves,
  'ledger-sealer': ledgerSealer,
  'ledger-proofs': ledgerProofs,
  'ledger-export': ledgerExport,
  sha256,
  'audit-search': auditSearch,
  archive,
  'raw-items': rawItems,
  restate,
  dbos,
}
