import { parseArgs } from 'node:util'

export const usage = `pnpm bench [options]: measures Muster beside its references, in the same run

  --only W1,W3     only these workloads
  --quick          short samples: at most 20 s for each workload
  --json FILE      write the rows as JSON too
  --peers          measure Restate and DBOS as well, in W1 and W2, and Portkey in W7; installs them first
  --size FACTOR    factor on the length of samples and of backlogs (default 1)
  --prof FOLDER    write a CPU profile of the worker in W1
  --help`

export interface Options {
  only: string[]
  quick: boolean
  json: string | undefined
  peers: boolean
  size: number
  prof: string | undefined
  help: boolean
}

/** @throws Error whose message tells what is wrong with the arguments */
export function readOptions(args: readonly string[], known: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      peers: { type: 'boolean', default: false },
      size: { type: 'string', default: '1' },
      prof: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const only = values.only === undefined ? [...known] : values.only.split(',').map((name) => name.trim().toUpperCase())
  for (const name of only) {
    if (!known.includes(name)) throw new Error(`--only: there is no workload "${name}"; there are ${known.join(', ')}`)
  }
  const size = Number(values.size)
  if (!(size > 0 && size <= 100)) throw new Error(`--size: "${values.size}" is not a number above 0 and up to 100`)
  if (values.prof !== undefined && !only.includes('W1')) throw new Error('--prof: profiles W1, which --only leaves out')
  return {
    only,
    quick: values.quick,
    json: values.json,
    peers: values.peers,
    size,
    prof: values.prof,
    help: values.help,
  }
}
