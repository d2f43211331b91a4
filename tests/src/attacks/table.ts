import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { isReached, isServed, type Outcome } from './outcome.ts'

const guide = fileURLToPath(new URL('../../../docs/guides/attacks.md', import.meta.url))
const START = '<!-- cases: written by `pnpm docs:attacks` -->\n'
const END = '<!-- end of cases -->'

/** The part of the guide that the cases write. */
export function currentTable(): string {
  const text = readFileSync(guide, 'utf8')
  return text.slice(text.indexOf(START) + START.length, text.indexOf(END))
}

export function writeTable(outcome: Outcome): void {
  const text = readFileSync(guide, 'utf8')
  const before = text.slice(0, text.indexOf(START) + START.length)
  writeFileSync(guide, before + tableOf(outcome) + text.slice(text.indexOf(END)))
}

/** What was measured, as Markdown. */
export function tableOf({ attacks, benign, notStopped, permitted }: Outcome): string {
  const blocked = benign.filter((one) => !isServed(one))
  const asked = benign.filter((one) => isServed(one) && one.played.asked.length > 0)
  const classes = [...new Set(attacks.map(({ task }) => task.class))]
  const summary = classes.map((name) => {
    const of = <T extends { task: { class: string } }>(cases: T[]) => cases.filter(({ task }) => task.class === name)
    return [
      name,
      of(attacks).length,
      of(permitted).filter(isReached).length,
      of(attacks).filter(isReached).length,
      of(benign).length,
      of(asked).length,
      of(blocked).length,
    ]
  })
  const total = ['**all**', ...[1, 2, 3, 4, 5, 6].map((i) => summary.reduce((sum, row) => sum + Number(row[i]), 0))]
  return `
### By class

${table(['Class', 'Attacks', 'Reach the effect, all permitted', 'Reach the effect, default set', 'Tasks', 'Done after a person was asked', 'Blocked'], [...summary, total])}
### Attacks

${table(
  ['Class', 'Attack', 'Effect', 'Stopped by'],
  attacks.map(({ task, played }) => [
    task.class,
    task.name,
    `\`${task.harm}\``,
    isReached({ task, played })
      ? '**not stopped**'
      : played.policies.map((id) => `\`${id.replace('default-', '')}\``).join(', '),
  ]),
)}
### Tasks that people want

${table(
  ['Class', 'Task', 'Outcome'],
  benign.map(({ task, played }) => [
    task.class,
    task.name,
    !isServed({ task, played })
      ? `**blocked** by ${played.policies.map((id) => `\`${id.replace('default-', '')}\``).join(', ')}`
      : played.asked.length > 0
        ? `done, ${played.asked.join(', ')} asked`
        : 'done',
  ]),
)}
### What it does not stop

${table(
  ['What', 'Case', 'Seen', 'What to do'],
  notStopped.map(({ task, played }) => [
    task.class,
    task.name,
    task.harm === undefined
      ? 'in the answer'
      : `\`${task.harm}\` ${played.effects.filter((name) => name === task.harm).length}×`,
    task.why,
  ]),
)}
`
}

function table(head: string[], rows: (string | number)[][]): string {
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |\n`
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('')
}
