import { describe, expect, it } from 'vitest'
import { appOf } from './fixture.ts'
import { loadPolicies } from './load.ts'

const app = appOf({
  'ledger.pay': { amount: { type: 'number' }, payee: { type: 'string' }, to: { type: 'object' } },
  'invoice.match': { payee: { type: 'string' }, id: { type: 'integer' } },
})

/** The mistakes of a set with these terms on its second line, from column 11 on. */
function mistakes(...terms: string[]): string[] {
  const text = `permit (principal, action, resource);\n${terms.map((one) => `@history("${one}")\nforbid (principal, action, resource) when { false };`).join('\n')}`
  try {
    loadPolicies([{ file: 'p.cedar', text }], app)
    return []
  } catch (error) {
    return (error as { issues: { path: string; message: string }[] }).issues.map(
      ({ path, message }) => `${path.replace('p.cedar:', '')} ${message}`,
    )
  }
}

describe('@history', () => {
  it.each([
    'paid = sum ledger.pay input.amount within 24h of session',
    'matched = formerly invoice.match with payee within 1h',
    "n = count tool ledger.pay failed with input.payee = 'ACME' and input.amount >= 10.5",
    'p = previous invoice.match with input.id != 7',
    'who = approvers ledger.pay with payee; when = last ledger.pay;',
    'again = formerly invoice.match with payee since ledger.pay begun with payee',
    'all = count * denied; asked = count model default; by = approvers approval finance',
    'm = formerly invoice.match with output.text = input.payee',
  ])('takes %s', (term) => {
    expect(mistakes(term)).toEqual([])
  })

  it.each([
    ['paid', '2:15 "=" is missing here'],
    ['paid = total ledger.pay', '2:18 count, sum, formerly, previous, approvers, last may stand here, not "total"'],
    ['paid = sum ledger.pay', '2:32 what to add up, such as input.amount is missing here'],
    [
      'paid = sum ledger.pay payee',
      '2:33 what is added up is a field of input or output, such as input.amount, not "payee"',
    ],
    ['paid = sum ledger.pay input.payee', '2:33 input.payee is no number'],
    ['paid = sum ledger.pay input.sum', '2:33 ledger.pay has no field input.sum'],
    ['n = count ledger.play', '2:21 there is no tool "ledger.play"'],
    ['n = count agent clerk', '2:21 there is no agent "clerk"'],
    ['n = count ledger.pay within 5w', '2:39 within takes a time such as 30m, 4h or 2d, of a year at most'],
    ['n = count ledger.pay within 999d', '2:39 within takes a time such as 30m, 4h or 2d, of a year at most'],
    [
      'paid = sum ledger.pay input.amount plus amount',
      '2:51 what is added up is a field of input, such as input.amount, not "amount"',
    ],
    ['paid = sum ledger.pay input.amount plus input.payee', '2:51 input.payee of no tool is a number'],
    ['n = count ledger.pay plus input.amount', '2:37 plus belongs to a sum'],
    ['n = count ledger.pay of run of run', '2:39 "of" stands twice'],
    ['n = count ledger.pay ok failed', '2:35 with, within, since, plus, of may stand here, not "failed"'],
    ['n = count ledger.pay with to', '2:37 input.to is an object; texts, numbers and booleans can be compared'],
    ['n = count ledger.pay with amount = input.payee', '2:37 input.payee of no tool is a number, as input.amount is'],
    ['n = count ledger.pay with payee = 5', '2:37 input.payee is a string, 5 is a number'],
    ["n = count ledger.pay with payee < 'A'", '2:37 < compares numbers'],
    ['n = count * with payee', '2:28 fields can be named of one tool or agent only'],
    ['now = count ledger.pay', '2:11 "now" cannot be the name of a term'],
    ['n = last ledger.pay taken', '2:20 last is of steps that have ended: ok, failed or denied'],
    [
      'n = previous ledger.pay within 1h',
      '2:11 previous is of the step that ended last: it takes ok, failed or denied, with and of',
    ],
    [
      'n = count ledger.pay with payee since invoice.match with id',
      '2:49 since compares with the same fields of the step that is decided on as its term, or none',
    ],
    ['', '2:11 @history names terms: @history("paid = sum ledger.pay input.amount")'],
  ])('refuses %j where it is wrong', (term, mistake) => {
    expect(mistakes(term)).toContain(mistake)
  })

  it('takes a name for two policies with one definition only', () => {
    expect(mistakes('n = count ledger.pay', 'n  =  count ledger.pay')).toEqual([])
    expect(mistakes('n = count ledger.pay', 'n = count invoice.match')).toEqual([
      '4:1 another term of history has the name "n"',
    ])
  })

  it('is typed: what no policy declares, or as what it is not, is a mistake', () => {
    const set = (condition: string) => () =>
      loadPolicies(
        [
          {
            file: 'p',
            text: `@history("n = count ledger.pay; last = last ledger.pay") permit (principal, action, resource) when { ${condition} };`,
          },
        ],
        app,
      )
    expect(set('context.history.n < 3')).not.toThrow()
    expect(set('context.history.now.durationSince(context.history.last) > duration("1h")')).not.toThrow()
    expect(set('context.history.session == "s"')).not.toThrow()
    expect(set('context.history.m < 3')).toThrow('attribute `history.m`')
    expect(set('context.history.n')).toThrow('p:1:')
    expect(() =>
      loadPolicies([{ file: 'p', text: 'permit (principal, action, resource) when { context.history.n == 1 };' }], app),
    ).toThrow('`history`')
  })
})
