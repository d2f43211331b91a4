import { createInterface } from 'node:readline/promises'
import { type ApprovalRule, isForPerson, type Json, MusterError, type Question, type Waiting } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { dateOf, duration, plain, print } from '../output.ts'

export interface Verdict {
  yes?: boolean
  no?: boolean
  reason?: string
  json: boolean
}

/** `muster approve`: shows what a run waits for; with a verdict, answers it for exactly what was shown. */
export async function approveCommand(
  muster: Muster,
  id: string,
  { step, edit, ...options }: Verdict & { step?: string; edit?: Json },
): Promise<number> {
  const run = await muster.runs.get(id)
  const asked = run.waiting.filter((waiting) => isForPerson(waiting) && (step === undefined || waiting.step === step))
  const verdict = verdictOf(options)
  if (verdict === undefined) {
    if (options.json) print(asked)
    else if (asked.length === 0) console.log(`run ${id} (${run.status}) waits for nobody`)
    for (const waiting of options.json ? [] : asked) console.log(shownText(waiting))
    if (asked.length > 0 && !options.json) console.log(pc.dim(`answer with \`muster approve ${id} --yes\` or \`--no\``))
    return 0
  }
  const [waiting] = asked
  if (asked.length > 1)
    throw new MusterError('request.invalid', `run ${id} waits for ${asked.length} approvals: name one with --step`)
  if (!waiting?.digest)
    throw new MusterError(
      'approval.not_found',
      `run ${id} waits for no approval${step === undefined ? '' : ` of step ${step}`}`,
    )
  const { digest } = waiting
  await muster.runs.approve(id, {
    ...answerOf(verdict, options),
    step: waiting.step,
    digest,
    ...(edit === undefined ? {} : { input: edit }),
  })
  if (options.json) print({ run: id, step: waiting.step, verdict })
  else console.log(`${told(verdict)} ${plain(waiting.target)}: follow it with \`muster trace ${id}\``)
  return 0
}

/** `muster approvals`: what waits for people; with a verdict, answers all of it. Gives 1 where an answer did not count. */
export async function approvalsCommand(
  muster: Muster,
  { role, target, force, ...options }: Verdict & { role?: string; target?: string; force?: boolean },
): Promise<number> {
  const filter = { ...(role === undefined ? {} : { role }), ...(target === undefined ? {} : { target }) }
  const asked: Question[] = []
  for await (const question of muster.approvals.list(filter)) asked.push(question)
  const verdict = verdictOf(options)
  if (verdict === undefined) {
    if (options.json) print({ approvals: asked })
    else if (asked.length === 0) console.log('nothing waits for a person')
    for (const question of options.json ? [] : asked) console.log(questionText(question))
    return 0
  }
  if (asked.length > 0 && !force) await confirm(asked, verdict, options.json)
  const answers = asked.map(({ run, step, digest = '' }) => ({ ...answerOf(verdict, options), run, step, digest }))
  const answered = await muster.approvals.answer(answers)
  const failed = answered.filter(({ error }) => error).length
  if (options.json)
    print({
      results: answered.map(({ error, ...rest }) => ({
        ...rest,
        verdict,
        ...(error ? { error: error.toProblem() } : {}),
      })),
    })
  else {
    for (const { run, step, error } of answered)
      console.log(
        `${error ? pc.red('✗') : told(verdict)} ${run} ${plain(step)}${error ? ` ${error.code}: ${plain(error.message)}` : ''}`,
      )
    console.log(`answered ${answered.length - failed}${failed === 0 ? '' : `, ${failed} did not count`}`)
  }
  return failed === 0 ? 0 : 1
}

/** Nothing is answered that was not shown. @throws MusterError `request.invalid` where nobody can be asked */
async function confirm(asked: readonly Question[], verdict: 'approve' | 'deny', json: boolean): Promise<void> {
  if (json || !process.stdin.isTTY)
    throw new MusterError('request.invalid', `give --force to ${verdict} ${asked.length} without being shown them`)
  for (const question of asked) console.log(questionText(question))
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const said = await terminal.question(`${verdict} all ${asked.length} of them? (y/N) `)
  terminal.close()
  if (!/^y(es)?$/i.test(said.trim())) throw new MusterError('request.invalid', 'nothing was answered')
}

/** Undefined where nothing is to be answered. */
function verdictOf({ yes, no }: Verdict): 'approve' | 'deny' | undefined {
  if (yes && no) throw new MusterError('request.invalid', 'give either --yes or --no')
  return yes ? 'approve' : no ? 'deny' : undefined
}

function answerOf(verdict: 'approve' | 'deny', { reason }: Verdict): { verdict: 'approve' | 'deny'; reason?: string } {
  return { verdict, ...(reason === undefined ? {} : { reason }) }
}

function told(verdict: 'approve' | 'deny'): string {
  return verdict === 'approve' ? pc.green('approved') : pc.yellow('refused')
}

function questionText(question: Question): string {
  const { run, name, version, by, createdAt } = question
  const age = duration(Math.max(Date.now() - createdAt, 0))
  const began = `${plain(`${name}@${version}`)} begun by ${by.service ? 'service ' : ''}${plain(by.user)} ${age} ago`
  return `${shownText(question)}\n  ${pc.dim(`${began} · muster approve ${run} --step ${plain(question.step)}`)}`
}

function shownText({ step, role, escalated, target, shown, rule, approvals = [], until }: Waiting): string {
  const who = escalated === undefined ? plain(role ?? '') : `${plain(role ?? '')} or ${plain(escalated)}`
  const rules = ruleText(
    rule,
    approvals.map(({ by }) => by),
    until,
  )
  return `${pc.yellow('⧖')} ${pc.bold(plain(target))} (step ${plain(step)}) needs ${who}${rules}:\n${plain(JSON.stringify(shown ?? null))}`
}

function ruleText(rule: ApprovalRule | undefined, given: readonly string[], until: number | undefined): string {
  const parts = [
    rule?.people && `${rule.people} people${given.length === 0 ? '' : `, so far ${given.map(plain).join(', ')}`}`,
    rule?.requester === false && 'not who began it',
    rule?.reason && 'with a reason',
    until && `until ${dateOf(until)}`,
  ].filter(Boolean)
  return parts.length === 0 ? '' : ` (${parts.join('; ')})`
}
