import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Places } from './places.ts'

describe('places', () => {
  it('are not all taken by three tenants, whatever they do', () => {
    const moves = fc.array(fc.record({ tenant: fc.constantFrom('a', 'b', 'c'), isTaken: fc.boolean() }), {
      maxLength: 200,
      size: 'max',
    })
    fc.assert(
      fc.property(moves, (all) => {
        const places = new Places(8)
        const held = new Map<string, number>()
        for (const { tenant, isTaken } of all) {
          const own = held.get(tenant) ?? 0
          const free = 8 - [...held.values()].reduce((sum, one) => sum + one, 0)
          if (isTaken && own >= free) expect(() => places.take(tenant)).toThrow(`${own} requests of "${tenant}"`)
          else if (isTaken) {
            places.take(tenant)
            held.set(tenant, own + 1)
          } else if (own > 0) {
            places.leave(tenant)
            held.set(tenant, own - 1)
          }
          places.check('newcomer')
        }
      }),
    )
  })
})
