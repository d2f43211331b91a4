import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { type ErrorCode, errorCatalog, MusterError, toMusterError } from './errors.ts'
import { issuesText, zodIssues } from './issues.ts'

const codes = Object.keys(errorCatalog) as ErrorCode[]

describe('errorCatalog', () => {
  it.each(codes)('%s has a stable form, an HTTP status, a title, and a hint that is a sentence', (code) => {
    const [status, title, hint] = errorCatalog[code]
    expect(code).toMatch(/^(internal|[a-z]+\.[a-z_]+)$/)
    expect(status).toBeGreaterThanOrEqual(400)
    expect(status).toBeLessThan(600)
    expect(title).toMatch(/^[A-Z].*[^.]$/)
    expect(hint).toMatch(/^[A-Z].*\.$/)
  })
})

describe('MusterError', () => {
  it.each(codes)('%s is a problem as RFC 9457 has it', (code) => {
    const problem = new MusterError(code, 'detail').toProblem()
    const [status, title, hint] = errorCatalog[code]
    expect(problem).toEqual({ type: `urn:muster:error:${code}`, title, status, detail: 'detail', code, hint })
    expect(URL.canParse(problem.type)).toBe(true)
  })

  it('lists in the problem what is wrong where', () => {
    const issues = [{ path: '/input/a~1b', message: 'too long' }]
    expect(new MusterError('input.invalid', 'no', { issues }).toProblem().errors).toEqual(issues)
  })

  it('keeps its cause for us and out of what users see', () => {
    const error = new MusterError('internal', 'it broke', { cause: new Error('s3cret') })
    expect(error.cause).toBeInstanceOf(Error)
    expect(JSON.stringify(error.toProblem())).not.toContain('s3cret')
  })
})

describe('toMusterError', () => {
  it('leaves ours as it is, and puts others under a code with their message', () => {
    const ours = new MusterError('run.not_found', 'no')
    expect(toMusterError(ours, 'tool.failed')).toBe(ours)
    const error = new Error('boom')
    expect(toMusterError(error, 'tool.failed')).toMatchObject({ code: 'tool.failed', message: 'boom', cause: error })
    expect(toMusterError('text')).toMatchObject({ code: 'internal', message: 'text' })
    expect(toMusterError(undefined)).toMatchObject({ code: 'internal', message: 'undefined' })
  })
})

it("zod's issues have their places as JSON Pointers below a base, also where names have slashes", () => {
  const { error } = z.object({ 'a/b~': z.array(z.string()) }).safeParse({ 'a/b~': [1] })
  const issues = error ? zodIssues(error, '/input') : []
  expect(issues.map(({ path }) => path)).toEqual(['/input/a~1b~0/0'])
  expect(issuesText([...issues, { path: '', message: 'is wrong' }])).toMatch(/^\/input\/a~1b~0\/0 .+; \/ is wrong$/)
})
