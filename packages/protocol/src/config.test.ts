import { describe, expect, it } from 'vitest'
import { configSchema, describeConfig, readConfig } from './config.ts'
import { MusterError } from './errors.ts'

function refused(env: Record<string, string>): MusterError {
  try {
    readConfig(env)
  } catch (error) {
    if (error instanceof MusterError) return error
  }
  throw new Error('accepted')
}

const shown = (env: Record<string, string>) =>
  Object.fromEntries(describeConfig(readConfig(env), env).map(({ name, value }) => [name, value]))

describe('readConfig', () => {
  it('needs nothing: every variable has a default or may be absent', () => {
    expect(readConfig({})).toMatchObject({ MUSTER_PORT: 7420, MUSTER_HOST: '127.0.0.1', MUSTER_FSYNC: 'always' })
  })

  it('reads numbers from text, takes an empty variable as unset and ignores what is not ours', () => {
    const config = readConfig({ MUSTER_PORT: '8000', MUSTER_CONCURRENCY: '', MUSTER_JOURNAL_TTL_S: '0', HOME: '/root' })
    expect(config).toMatchObject({ MUSTER_PORT: 8000, MUSTER_CONCURRENCY: 100, MUSTER_JOURNAL_TTL_S: 0 })
    expect(config).not.toHaveProperty('HOME')
  })

  it.each([
    ['MUSTER_PORT', '0'],
    ['MUSTER_PORT', '65536'],
    ['MUSTER_PORT', 'http'],
    ['MUSTER_CONCURRENCY', '-1'],
    ['MUSTER_CONCURRENCY', '1.5'],
    ['MUSTER_LOCK_MS', '10'],
    ['MUSTER_NAMESPACE', 'a{b}'],
    ['MUSTER_FSYNC', 'never'],
    ['MUSTER_URL', 'localhost'],
    ['MUSTER_LOG', 'loud'],
    ['MUSTER_WEIGHTS', 'acme'],
    ['MUSTER_WEIGHTS', 'acme='],
    ['MUSTER_WEIGHTS', '=2'],
    ['MUSTER_WEIGHTS', 'acme=0'],
    ['MUSTER_WEIGHTS', 'acme=1001'],
    ['MUSTER_WEIGHTS', 'acme=2,'],
    ['MUSTER_WEIGHTS', 'acme=2,acme=3'],
    ['MUSTER_OUTCOMES', 'Strict'],
    ['MUSTER_ARCHIVE', 'false'],
    ['MUSTER_PARTITIONS', '0'],
    ['MUSTER_PARTITIONS', '65'],
    ['MUSTER_REPLICAS', '-1'],
    ['MUSTER_REPLICA_TIMEOUT_MS', '5000'],
  ])('refuses %s=%s and names it', (name, value) => {
    const error = refused({ [name]: value })
    expect(error.code).toBe('config.invalid')
    expect(error.issues).toEqual([{ path: `/${name}`, message: expect.any(String) }])
    expect(error.message).toContain(`${name}: `)
  })

  it('reads weights of tenants, whose names may hold a =', () => {
    const { MUSTER_WEIGHTS } = readConfig({ MUSTER_WEIGHTS: 'acme=2, other=0.5,a=b=1e1' })
    expect(MUSTER_WEIGHTS).toEqual({ acme: 2, other: 0.5, 'a=b': 10 })
    expect(shown({ MUSTER_WEIGHTS: 'acme=2,other=0.5' }).MUSTER_WEIGHTS).toBe('acme=2,other=0.5')
  })

  it('reads what to redact as JSON, or as the path of a file', () => {
    const { MUSTER_REDACT } = readConfig({ MUSTER_REDACT: '{"kinds":{"email":"token"}}' })
    expect(MUSTER_REDACT).toEqual({ kinds: { email: 'token' }, patterns: [], countries: [] })
    expect(readConfig({ MUSTER_REDACT: './redact.json' }).MUSTER_REDACT).toBe('./redact.json')
    expect(refused({ MUSTER_REDACT: '{"kinds":{"email":"burn"}}' }).message).toMatch(/^MUSTER_REDACT: \/kinds\/email /)
    expect(refused({ MUSTER_REDACT: '{"kinds"' }).message).toContain('not JSON')
  })

  it('names every variable that is wrong, and repeats no value, which may be a secret', () => {
    const error = refused({ MUSTER_PORT: 's3cret', MUSTER_MODEL_BASE_URL: 's3cret', DYNAMODB_ENDPOINT: 's3cret' })
    expect(error.issues?.map((issue) => issue.path).sort()).toEqual([
      '/DYNAMODB_ENDPOINT',
      '/MUSTER_MODEL_BASE_URL',
      '/MUSTER_PORT',
    ])
    expect(JSON.stringify(error.toProblem())).not.toContain('s3cret')
  })
})

describe('describeConfig', () => {
  it('lists every variable with what it is for', () => {
    const described = describeConfig(readConfig({}), {})
    expect(described.map(({ name }) => name)).toEqual(Object.keys(configSchema.shape))
    for (const { name, about } of described) expect(about, name).toMatch(/\w{3,}/)
  })

  it('says what was set, and shows defaults', () => {
    const env = { MUSTER_PORT: '7420', MUSTER_HOST: '' }
    const described = describeConfig(readConfig(env), env)
    expect(described.find(({ name }) => name === 'MUSTER_PORT')).toMatchObject({ value: '7420', set: true })
    expect(described.find(({ name }) => name === 'MUSTER_HOST')).toMatchObject({ value: '127.0.0.1', set: false })
    expect(described.find(({ name }) => name === 'MUSTER_URL')).toMatchObject({ value: null, set: false })
  })

  it('masks every variable that holds a key', () => {
    const keys = Object.keys(configSchema.shape).filter((name) => /_KEY$|SECRET|PASSWORD|TOKEN/.test(name))
    expect(keys.length).toBeGreaterThan(2)
    const of = shown(Object.fromEntries(keys.map((name) => [name, 's3cret'.repeat(8)])))
    for (const name of keys) expect(of[name]).toBe('(set)')
  })

  it.each([
    ['redis://user:s3cret@host:6379/0', 'redis://***@host:6379/0'],
    ['rediss://:s3cret@host', 'rediss://***@host'],
    ['redis://user:p@s3cret@host', 'redis://***@host'],
    ['redis://user:p/s3cret@host', 'redis://***@host'],
    ['redis://host/0?password=s3cret', 'redis://host/0?***'],
    ['redis://host:6379', 'redis://host:6379'],
  ])('shows %s as %s', (url, masked) => {
    expect(shown({ REDIS_URL: url }).REDIS_URL).toBe(masked)
  })

  it('leaves a path with an @ as it is', () => {
    expect(shown({ MUSTER_APP: './@acme/app.ts' }).MUSTER_APP).toBe('./@acme/app.ts')
  })
})
