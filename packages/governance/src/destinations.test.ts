import { describe, expect, it } from 'vitest'
import { hasNewDestination } from './destinations.ts'

const isNew = (to: unknown, ...patterns: string[]) =>
  hasNewDestination(['to'], { to } as Parameters<typeof hasNewDestination>[1], patterns)

describe('hasNewDestination', () => {
  it.each([
    ['ap@vendor.example', 'ap@vendor.example'],
    ['AP@Vendor.example', 'ap@vendor.example'],
    ['a.b+c@corp.example', '*@corp.example'],
    ['https://files.corp.example/a?b#c', '*.corp.example'],
    ['https://files.corp.example:443/', '*.corp.example'],
    ['https://files.corp.example:8443/', 'files.corp.example:8443'],
    ['HTTPS://FILES.corp.example', '*.corp.example'],
    ['team-channel', 'team-*'],
  ])('knows %s by %s', (value, pattern) => expect(isNew(value, pattern)).toBe(false))

  it.each([
    ['x@evil.test', '*@corp.example'],
    ['x@evil.test,y@corp.example', '*@corp.example'],
    ['x@evil.test y@corp.example', '*@corp.example'],
    ['"x@evil.test"@corp.example', '*@corp.example'],
    ['x@evil.test\ny@corp.example', '*@corp.example'],
    ['ap@v\u0435ndor.example', 'ap@vendor.example'],
    ['apXvendor.example', 'ap.vendor.example'],
    ['https://corp.example/', '*.corp.example'],
    ['https://files.corp.example.evil.test/', '*.corp.example'],
    ['https://files.corp.example@evil.test/', '*.corp.example'],
    ['https://evil.test/.corp.example', '*.corp.example'],
    ['https://evil.test\\.corp.example/', '*.corp.example'],
    ['https://evil.test#.corp.example', '*.corp.example'],
    ['https:evil.test', 'corp.example'],
    ['https://files.corp.example:8443/', '*.corp.example'],
    ['https://', '*'],
    ['ftp://files.corp.example', '*.corp.example'],
    [{ host: 'corp.example' }, 'corp.example'],
    [7, '*'],
    [['a@corp.example', 'x@evil.test'], '*@corp.example'],
  ])('does not know %s by %s', (value, pattern) => expect(isNew(value, pattern)).toBe(true))

  it('finds nothing where nothing is sent, and does not know what is no object', () => {
    expect(isNew(undefined)).toBe(false)
    expect(isNew(null)).toBe(false)
    expect(isNew([])).toBe(false)
    expect(hasNewDestination([], 'x', [])).toBe(false)
    expect(hasNewDestination(['to'], 'x', ['x'])).toBe(true)
    expect(hasNewDestination(['constructor'], {}, [])).toBe(false)
  })
})
