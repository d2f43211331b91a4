/** Markup, as opposed to text: only `html` makes it, so that text never becomes it. */
export class Html {
  readonly #text: string

  private constructor(text: string) {
    this.#text = text
  }

  toString(): string {
    return this.#text
  }

  static join(strings: readonly string[], values: readonly Part[]): Html {
    return new Html(strings.map((text, i) => text + partText(values[i])).join(''))
  }
}

export type Part = Html | string | number | undefined | readonly Part[]

/** Escapes what stands in it, unless it is markup itself. */
export function html(strings: TemplateStringsArray, ...values: Part[]): Html {
  return Html.join(strings, values)
}

function partText(part: Part): string {
  if (part === undefined) return ''
  if (part instanceof Html) return part.toString()
  if (typeof part === 'string' || typeof part === 'number') return escaped(visible(String(part)))
  return part.map(partText).join('')
}

const named: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (c) => named[c] ?? c)
}

/**
 * What would not be seen on paper, or would show the text around it in another order, by its code point: controls,
 * marks of direction, spaces without width, tags, halves of surrogate pairs.
 */
function visible(text: string): string {
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are among what is shown
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\p{Surrogate}]/gu,
    (c) => `⟨U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`,
  )
}
