import { comparePolicies, type Policy } from '@muster/governance'
import type { Muster } from '@muster/sdk'
import { structuredPatch } from 'diff'
import pc from 'picocolors'
import { plain, print } from '../output.ts'
import { readTexts } from './policy-source.ts'

/** `muster policy diff`: what is another in a set than in the one before, policy by policy. */
export async function diffPoliciesCommand(
  muster: () => Muster,
  before: string,
  after: string,
  json: boolean,
): Promise<undefined> {
  const { added, removed, changed } = comparePolicies(await readTexts(muster, before), await readTexts(muster, after))
  if (json) {
    const flat = ({ id, policy }: { id: string; policy: Policy }) => ({ id, mode: policy.mode, text: policy.text })
    const both = changed.map(({ id, before, after }) => ({
      ...{ id, before: flat({ id, policy: before }), after: flat({ id, policy: after }) },
      diff: linesOf(before, after),
    }))
    print({ added: added.map(flat), removed: removed.map(flat), changed: both })
    return undefined
  }
  const lines = [
    ...removed.flatMap(({ id, policy }) => [pc.red(`removed ${plain(id)}`), ...shown(policy, '-')]),
    ...changed.flatMap(({ id, before, after }) => [
      pc.yellow(
        `changed ${plain(id)}${before.mode === after.mode ? '' : `: ${before.mode} before, ${after.mode} now`}`,
      ),
      ...linesOf(before, after).map(colored),
    ]),
    ...added.flatMap(({ id, policy }) => [pc.green(`added ${plain(id)}`), ...shown(policy, '+')]),
  ]
  console.log(lines.length === 0 ? 'the same policies' : lines.join('\n'))
  return undefined
}

/** Lines of a unified diff, without its heads. */
function linesOf({ text: before }: Policy, { text: after }: Policy): string[] {
  return structuredPatch('before', 'after', `${before}\n`, `${after}\n`).hunks.flatMap(({ lines }) => lines)
}

function shown({ text, mode }: Policy, sign: '+' | '-'): string[] {
  const head = mode === 'enforced' ? [] : [`${sign} // ${mode}`]
  return [...head, ...text.split('\n').map((line) => `${sign}${line}`)].map(colored)
}

function colored(line: string): string {
  const text = `  ${plain(line)}`
  return line.startsWith('+') ? pc.green(text) : line.startsWith('-') ? pc.red(text) : pc.dim(text)
}
