/** The account number as machines write it: without spaces, in capitals. */
export function normalIban(text: string): string {
  return text.replaceAll(/\s/g, '').toUpperCase()
}

/** Whether the check digits hold (ISO 13616, by the remainder 1 modulo 97 of ISO 7064). */
export function isIban(iban: string): boolean {
  if (!/^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$/.test(iban)) return false
  const digits = (iban.slice(4) + iban.slice(0, 4)).replaceAll(/[A-Z]/g, (letter) => String(letter.charCodeAt(0) - 55))
  let remainder = 0
  for (const digit of digits) remainder = (remainder * 10 + Number(digit)) % 97
  return remainder === 1
}
