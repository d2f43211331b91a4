import type { Bench } from '../bench.ts'
import { figure, type Measured, type Row, rowsOf } from '../row.ts'
import type { GatewayOptions } from '../subjects/gateway.ts'

/** Ten thousand requests pass before Node has compiled what answers them: a server is there for more. */
const WARM_UPS = 5

const shapes = (['chat', 'responses'] as const).flatMap((api) =>
  [false, true].flatMap((stream) =>
    [1, 32].map((connections) => {
      const many = connections === 1 ? '1 connection' : `${connections} connections`
      return { title: `${api}${stream ? ' streamed' : ''}, ${many}`, api, connections, stream }
    }),
  ),
)

/** W7: requests through the gateway to a model server that answers at once, beside that server alone, and Portkey's gateway. */
export async function gateway(bench: Bench): Promise<Row[]> {
  const rows: Row[] = []
  for (const { title, ...shape } of shapes) {
    const start = async (
      name: string,
      by: GatewayOptions['by'],
      { place, admin }: Awaited<ReturnType<Bench['place']>>,
    ) => ({
      name,
      child: await bench.start('gateway', { ...place, ...shape, by }),
      ...(by === 'muster' ? { empty: admin } : {}),
    })
    const always = await bench.place('always')
    const everysec = await bench.place()
    const contenders = [
      await start(title, 'muster', everysec),
      await start(`${title}, appendfsync always`, 'muster', always),
      await start('the model server alone', 'itself', everysec),
      await start('Fastify and undici alone', 'bare', everysec),
      // Portkey 1.15.2 fails at streams on Node 24: it changes headers that fetch gives as immutable.
      ...(bench.options.peers && !shape.stream ? [await start('Portkey', 'portkey', everysec)] : []),
    ]
    const [ours, synced, ...others] = await bench.rounds(`W7 ${title}`, contenders, { warmUps: WARM_UPS })
    await bench.stop()
    for (const one of [ours, synced]) if (one) rows.push(...rowsFor(one, others, shape.stream))
  }
  return rows
}

function rowsFor(ours: Measured, others: readonly Measured[], stream: boolean): Row[] {
  const of = (unit: string, name: string) => rowsOf({ workload: 'W7', unit, of: figure(name) }, ours, others)
  return [
    ...rowsOf({ workload: 'W7', unit: 'requests/s' }, ours, others),
    ...of('ms p50', 'p50Ms'),
    ...of('ms p99', 'p99Ms'),
    ...(stream ? of('ms to the first byte', 'firstMs') : []),
  ]
}
