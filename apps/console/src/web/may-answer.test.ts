import type { KeyHolder } from '@muster/protocol'
import { expect, it } from 'vitest'
import { whyNot } from './may-answer.ts'

const ada: KeyHolder = { key: 'k', tenant: 't', user: 'ada', roles: ['controller'] }
const by = { key: 'k', user: 'bob' }
const approved = (by: string) => [{ by, role: 'controller', at: 1 }]

it.each([
  ['may', ada, by, { role: 'controller' }, {}],
  ['may, until the server has told who it is', undefined, by, { role: 'x' }, {}],
  ['may with every role', { ...ada, roles: ['*'] }, by, {}, {}],
  ['has not the role', ada, by, {}, { toAnswer: 'Your key has not the role operator.' }],
  ['has not either', ada, by, { role: 'x', escalated: 'y' }, { toAnswer: 'Your key has not the role x or y.' }],
  ['has the one that may by now', ada, by, { role: 'x', escalated: 'controller' }, {}],
  ['is a service', { ...ada, service: true as const }, by, { role: 'controller' }, { toAnswer: expect.anything() }],
  [
    'began it',
    { ...ada, user: 'bob' },
    by,
    { role: 'controller', rule: { requester: false as const } },
    { toApprove: expect.anything() },
  ],
  ['began what its beginner may approve', { ...ada, user: 'bob' }, by, { role: 'controller' }, {}],
  [
    'has approved it',
    ada,
    by,
    { role: 'controller', rule: { people: 2 }, approvals: approved('ada') },
    { toApprove: expect.anything() },
  ],
  ['is the second', ada, by, { role: 'controller', rule: { people: 2 }, approvals: approved('cy') }, {}],
])('tells whether somebody may answer who %s', (_, me, by, waiting, expected) => {
  expect(whyNot(me, { by }, waiting)).toEqual(expected)
})
