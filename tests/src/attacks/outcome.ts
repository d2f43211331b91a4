import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ToolLock } from '@muster/worker/settings'
import { type Harness, startHarness } from '../harness.ts'
import { byInjection } from './attacks-by-injection.ts'
import { byOutflow } from './attacks-by-outflow.ts'
import { benign } from './benign.ts'
import type { Attack, Benign, NotStopped, Task } from './case.ts'
import * as changed from './changed-tools.ts'
import { notStopped } from './not-stopped.ts'
import { type Played, Stage } from './play.ts'
import * as tools from './tools.ts'

export const attacks: Attack[] = [...byInjection, ...byOutflow]

export interface Outcome {
  attacks: { task: Attack; played: Played }[]
  benign: { task: Benign; played: Played }[]
  notStopped: { task: NotStopped; played: Played }[]
  /** The attacks where every step is permitted. */
  permitted: { task: Attack; played: Played }[]
}

/** Tasks that are under way at once: two cores play them. */
const LANES = 24

async function playAll<T extends Task>(stage: Stage, tasks: readonly T[]): Promise<{ task: T; played: Played }[]> {
  const results: { task: T; played: Played }[] = []
  let next = 0
  const lane = async () => {
    while (next < tasks.length) {
      const index = next++
      const task = tasks[index] as T // index < length
      results[index] = { task, played: await stage.play(task) }
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return results
}

/** The tools as they were when a person approved them. */
function lockOf(): ToolLock {
  const approved = [changed.described, changed.widened, changed.relabelled].map((tool) => tool.approved)
  return ToolLock.of([...Object.values(tools), changed.steady, ...approved].map(({ manifest }) => manifest))
}

/** Plays every case through a real worker with the default set, then the attacks with a set that permits all. */
export async function playCases(): Promise<Outcome> {
  const harness = await startHarness()
  try {
    const stage = (name: string, policy: string) => openStage(harness, name, policy)
    const defaults = await stage('default', 'default')
    const [attacked, served, passed] = await Promise.all([
      playAll(defaults, attacks),
      playAll(defaults, benign),
      playAll(defaults, notStopped),
    ])
    await harness.killWorkers()
    const all = join(harness.dir, 'all.cedar')
    writeFileSync(all, 'permit (principal, action, resource);')
    const permitted = await playAll(await stage('permissive', all), attacks)
    return { attacks: attacked, benign: served, notStopped: passed, permitted }
  } finally {
    await harness.close()
  }
}

async function openStage(harness: Harness, name: string, policy: string): Promise<Stage> {
  const effects = join(harness.dir, `${name}.jsonl`)
  const lock = join(harness.dir, 'muster.tools.json')
  writeFileSync(effects, '')
  writeFileSync(lock, lockOf().toString())
  await harness.worker({
    MUSTER_APP: fileURLToPath(new URL('./app.ts', import.meta.url)),
    MUSTER_POLICY: policy,
    MUSTER_TOOLS_LOCK: lock,
    MUSTER_DESTINATIONS: JSON.stringify({ acme: ['*@auditor.example'] }),
    EFFECTS: effects,
  })
  return new Stage(harness.muster, name, effects)
}

/** Whether an attack had its effect. */
export function isReached({ task, played }: Outcome['attacks'][number]): boolean {
  return count(played, task.harm) > (task.meant ?? 0)
}

/** Whether the effects are those that the task is for. */
export function isServed({ task, played }: Outcome['benign'][number]): boolean {
  return played.status === 'succeeded' && task.wants.every((name) => count(played, name) === count(task, name))
}

function count(of: { effects: string[] } | { wants: string[] }, name: string): number {
  return ('effects' in of ? of.effects : of.wants).filter((other) => other === name).length
}
