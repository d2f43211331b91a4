/** Amounts are compared in hundredths: sums of decimal fractions are not exact in binary. */
function cents(amount: number): number {
  return Math.round(amount * 100)
}

export function sameAmount(a: number, b: number): boolean {
  return cents(a) === cents(b)
}

/** An amount as people write it: `1,234.50`, `1.234,50`, `1 234.50` or `1234.5`; undefined when it is none. */
export function parseAmount(text: string): number | undefined {
  const digits = text.trim().replaceAll(/[\s'’]/g, '')
  if (!/^-?\d+(?:[.,]\d+)*$/.test(digits)) return undefined
  // The last mark separates decimals, unless three digits follow: then it separates thousands.
  const decimals = /[.,](\d{1,2}|\d{4,})$/.exec(digits)
  const whole = decimals ? digits.slice(0, decimals.index) : digits
  return Number(`${whole.replaceAll(/[.,]/g, '')}.${decimals?.[1] ?? '0'}`)
}

export function formatAmount(amount: number, currency = ''): string {
  const text = amount.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })
  return currency === '' ? text : `${text} ${currency}`
}
