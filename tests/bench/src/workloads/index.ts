import type { Bench } from '../bench.ts'
import { makespan } from '../makespan.ts'
import type { Row } from '../row.ts'
import { archiving } from './archive.ts'
import { backlog } from './backlog.ts'
import { chain } from './chain.ts'
import { effects } from './effects.ts'
import { fanOut } from './fan-out.ts'
import { gateway } from './gateway.ts'
import { graph } from './graph.ts'
import { ledger, sealing } from './ledger.ts'
import { policy } from './policy.ts'
import { search } from './search.ts'

/** Every workload by its name. Each measures its subjects beside their references and gives the rows. */
export const workloads: Record<string, (bench: Bench) => Promise<Row[]>> = {
  W1: chain,
  W2: fanOut,
  W3: backlog,
  W4: effects,
  W5: graph,
  W6: policy,
  W7: gateway,
  A1: ledger,
  A2: sealing,
  A3: search,
  A4: archiving,
  MAKESPAN: async ({ options }) => makespan(options.quick ? 3 : 30),
}
