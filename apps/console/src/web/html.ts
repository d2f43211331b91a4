import htm from 'htm'
import { h, type VNode } from 'preact'

type Html = (strings: TemplateStringsArray, ...values: unknown[]) => VNode

// htm's declarations describe its CommonJS form; browsers load the module, whose default export is the function.
const create = htm as unknown as { bind(createElement: typeof h): Html }

/** Markup as a tagged template. Values become text nodes or attributes, never markup. */
export const html = create.bind(h)
