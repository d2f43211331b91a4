/** Letters that the eye takes for another: Cyrillic and Greek twins, digits, and what fonts confuse. */
const twins: Record<string, string> = {
  а: 'a',
  е: 'e',
  о: 'o',
  р: 'p',
  с: 'c',
  х: 'x',
  у: 'y',
  і: 'i',
  ј: 'j',
  ѕ: 's',
  ԁ: 'd',
  һ: 'h',
  к: 'k',
  м: 'm',
  т: 't',
  в: 'b',
  н: 'h',
  ο: 'o',
  α: 'a',
  ν: 'v',
  ρ: 'p',
  ι: 'i',
  κ: 'k',
  '0': 'o',
  '1': 'l',
  '5': 's',
  i: 'l',
  j: 'l',
}

function skeleton(name: string): string {
  const plain = name.normalize('NFKD').replaceAll(/\p{M}/gu, '').toLowerCase()
  return [...plain]
    .map((letter) => twins[letter] ?? letter)
    .join('')
    .replaceAll('rn', 'm')
    .replaceAll('vv', 'w')
    .replaceAll(/[^\p{L}\p{N}]/gu, '')
}

/** Whether two different names are made to be taken for each other: equal to the eye, or one slip apart. */
export function looksLike(a: string, b: string): boolean {
  return !sameName(a, b) && distanceUpTo(skeleton(a), skeleton(b), 2) < 2
}

/** Equal but for case, spaces and the way in which accents are encoded. */
export function sameName(a: string, b: string): boolean {
  const normal = (name: string) => name.normalize('NFC').toLowerCase().replaceAll(/\s+/g, ' ').trim()
  return normal(a) === normal(b)
}

/** Edit distance (Wagner and Fischer 1974), or `limit` when it is that or more. */
function distanceUpTo(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...b].entries()) {
      const change = (row[j] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(change, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return Math.min(row.at(-1) ?? 0, limit)
}
