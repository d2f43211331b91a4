/** A fenced code block of a Markdown file. */
export interface Fence {
  /** First word of the info string, such as `ts`. */
  language: string
  /** The rest of the info string. */
  info: string
  /** Line of its first line of code, from 1. */
  line: number
  code: string
}

const opening = /^( *)(`{3,}|~{3,})[ \t]*([^\s`]*)[ \t]*([^`]*?)[ \t]*$/

/** The fenced code blocks of a Markdown text (CommonMark 0.31, section 4.5); their own indentation is removed. */
export function findFences(markdown: string): Fence[] {
  const fences: Fence[] = []
  const lines = markdown.split(/\r?\n/)
  for (let i = 0; i < lines.length; i++) {
    const [, indent = '', mark = '', language = '', info = ''] = opening.exec(lines[i] ?? '') ?? []
    if (mark === '') continue
    const closing = new RegExp(`^ *${mark[0]}{${mark.length},}[ \\t]*$`)
    const margin = new RegExp(`^ {0,${indent.length}}`)
    const line = i + 2
    const code: string[] = []
    while (++i < lines.length && !closing.test(lines[i] ?? '')) code.push((lines[i] ?? '').replace(margin, ''))
    fences.push({ language, info, line, code: code.join('\n') })
  }
  return fences
}
