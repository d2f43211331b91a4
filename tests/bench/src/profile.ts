#!/usr/bin/env node
/** Sums the self time of CPU profiles (`pnpm bench --only W1 --prof FOLDER`) by what the time went into. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string } }[]
  samples: number[]
  timeDeltas: number[]
}

/** The first whose pattern fits the function or the file has the time. Functions of Node itself have a URL `node:…` or none. */
const groups: [group: string, fits: RegExp][] = [
  ['idle', /^\(idle\)|^\(program\)/],
  ['garbage collection', /^\(garbage collector\)/],
  ['hash', /hash|digest|salt|random.*\|node:internal\/crypto|node:internal\/crypto/i],
  ['JSON', /^(?:stringify|parse)\|$/],
  [
    'socket',
    /^(?:write|writev|readv?|writeUtf8String|writeLatin1String|onStreamRead)\b|\|node:(?:net|internal\/stream)/,
  ],
  ['BullMQ', /\/bullmq\b/],
  ['ioredis', /\/(?:ioredis|redis-parser|@ioredis)\b/],
  ['zod', /\/zod\b/],
  ['journal', /\/packages\/(?:journal|audit)\//],
  ['scheduler', /\/packages\/scheduler\//],
  ['policy', /\/packages\/governance\/|cedar/],
  ['runtime', /\/packages\/(?:runtime|sdk|tools|protocol)\//],
  ['the benchmark', /\/tests\/bench\//],
  ['Node', /\|node:/],
]

/** Milliseconds of self time by group, the largest first. */
function summarise(profile: Profile): [group: string, ms: number][] {
  const groupOf = new Map<number, string>()
  for (const { id, callFrame } of profile.nodes) {
    const name = `${callFrame.functionName}|${callFrame.url}`
    groupOf.set(id, groups.find(([, fits]) => fits.test(name))?.[0] ?? 'other')
  }
  const times = new Map<string, number>()
  for (const [i, id] of profile.samples.entries()) {
    const group = groupOf.get(id) ?? 'other'
    times.set(group, (times.get(group) ?? 0) + (profile.timeDeltas[i] ?? 0) / 1000)
  }
  return [...times].sort(([, a], [, b]) => b - a)
}

const [folder] = process.argv.slice(2)
if (folder === undefined) console.error('Name the folder that was given to --prof.')
else {
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.cpuprofile'))) {
    const times = summarise(JSON.parse(readFileSync(join(folder, file), 'utf8')))
    const busy = times.reduce((sum, [group, ms]) => sum + (group === 'idle' ? 0 : ms), 0)
    console.log(`${file}\n\n| group | ms | share of what is not idle |\n|---|---|---|`)
    for (const [group, ms] of times)
      console.log(`| ${group} | ${Math.round(ms)} | ${group === 'idle' ? '' : `${((ms / busy) * 100).toFixed(1)} %`} |`)
  }
}
