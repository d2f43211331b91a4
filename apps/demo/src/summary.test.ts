import { expect, test } from 'vitest'
import { summary } from './summary.ts'

test('each section with its reasons, empty ones left out', () => {
  const text = summary({
    paid: [
      { file: 'a.xml', run: '1', vendor: 'Acme', amount: 1234.5, receipt: 'R-1', reason: 'it matches order PO-1' },
    ],
    blocked: [{ file: 'b.txt', run: '2', vendor: 'Bolt', amount: 10, reason: `bad\u001b[31m\n${'long '.repeat(30)}` }],
    needsApproval: [],
    setAside: [{ file: 'c.json', run: '3', reason: 'empty' }],
    failed: [],
    costUsd: 0.01234,
  })
  expect(text).toBe(`Paid (1)
  a.xml                                1,234.50  Acme
      receipt R-1, it matches order PO-1

Blocked (1)
  b.txt                                   10.00  Bolt
      bad [31m ${'long '.repeat(17).trim()}
      ${'long '.repeat(13).trim()}

Set aside (1)
  c.json
      empty

1 paid, 0 to approve, 1 blocked, 1 set aside. The models cost $0.0123.`)
})
