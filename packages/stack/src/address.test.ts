import { expect, test } from 'vitest'
import { shownAddress } from './address.ts'

test.each([
  ['redis://127.0.0.1:6379/2', 'redis://127.0.0.1:6379/2'],
  ['rediss://user:s3cret@host:1/0', 'rediss://host:1/0'],
  ['redis://:s3cret@host', 'redis://host'],
  ['redis://u:s3@cret@host', 'redis://host'],
  ['redis://u:s3cret?x@host', 'redis://(hidden)'],
  ['redis://u:#s3cret@host', 'redis://(hidden)'],
  ['redis://host?password=s3cret', 'redis://host'],
  ['u:s3cret@host:1', 'host:1'],
  ['/run/redis.sock', '/run/redis.sock'],
])('%s is shown as %s', (address, shown) => {
  expect(shownAddress(address)).toBe(shown)
})
