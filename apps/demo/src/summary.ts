import { formatAmount } from './money.ts'
import type { MonthEndOutput } from './month-end.ts'

const WIDTH = 100

/** The output of `payables.month-end` as text for a terminal. */
export function summary({ paid, blocked, needsApproval, setAside, failed, costUsd }: MonthEndOutput): string {
  const sections = [
    section('Paid', paid, (item) => [line(item), `receipt ${item.receipt}, ${item.reason}`]),
    section('Needs approval', needsApproval, (item) => [line(item), item.reason, `run ${item.run}`]),
    section('Blocked', blocked, (item) => [line(item), item.reason]),
    section('Set aside', setAside, (item) => [printable(item.file), item.reason]),
    section('Failed', failed, (item) => [
      printable(item.file),
      item.reason,
      ...(item.run === undefined ? [] : [`run ${item.run}`]),
    ]),
  ].filter((text) => text !== '')
  const counts = [
    `${paid.length} paid`,
    `${needsApproval.length} to approve`,
    `${blocked.length} blocked`,
    `${setAside.length} set aside`,
    ...(failed.length > 0 ? [`${failed.length} failed`] : []),
  ]
  return [...sections, `${counts.join(', ')}. The models cost $${costUsd.toFixed(4)}.`].join('\n\n')
}

function section<T>(title: string, items: readonly T[], linesOf: (item: T) => string[]): string {
  if (items.length === 0) return ''
  const rows = items.flatMap((item) => linesOf(item).flatMap((text, i) => (i === 0 ? [`  ${text}`] : wrap(text))))
  return [`${title} (${items.length})`, ...rows].join('\n')
}

function line({ file, vendor, amount }: { file: string; vendor: string; amount: number }): string {
  return `${printable(file).padEnd(32)} ${formatAmount(amount).padStart(12)}  ${printable(vendor)}`
}

/** Breaks a reason between words. */
function wrap(text: string): string[] {
  const rows: string[] = []
  let row = ''
  for (const word of printable(text).split(' ')) {
    if (row !== '' && row.length + word.length + 7 > WIDTH) {
      rows.push(`      ${row}`)
      row = word
    } else row = row === '' ? word : `${row} ${word}`
  }
  return [...rows, `      ${row}`]
}

/** A stranger may have written it: what would steer the terminal goes. */
function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim()
}
