import {
  type Faker,
  fakerAR,
  fakerDE,
  fakerEN_GB,
  fakerEN_US,
  fakerES,
  fakerFR,
  fakerJA,
  fakerPL,
  fakerZH_CN,
} from '@faker-js/faker'
import { negatives } from './corpus-negatives.ts'
import { ONLY, positives } from './corpus-positives.ts'
import type { Span } from './span.ts'

/** A text with all that is to be found in it, to the character. */
export interface Sample {
  shape: string
  text: string
  spans: Known[]
}

export interface Known extends Span {
  /** Written so that only who reads it knows what it is. */
  hard: boolean
}

/** A value of a kind, or something that only looks like one: then without a kind. */
interface Item {
  kind?: string
  hard: boolean
  value: string
}

const locales: readonly Faker[] = [
  fakerEN_US,
  fakerEN_GB,
  fakerDE,
  fakerFR,
  fakerES,
  fakerPL,
  fakerJA,
  fakerZH_CN,
  fakerAR,
]

/** Share of values that are hard. */
const HARD = 0.1

/** Marks of where a value begins and ends, while a text is put together: from the area for private use. */
const BEGIN = 0xe000
const END = '\uf8ff'

/**
 * Texts of many shapes and places, the same for the same seed. Each has some values that are to be found and some that
 * look like them and are none.
 */
export function corpus(count: number, seed: number): Sample[] {
  for (const locale of locales) {
    locale.seed(seed)
    locale.setDefaultRefDate('2026-01-01T00:00:00.000Z')
  }
  const { helpers, number } = fakerEN_US
  const kinds = Object.keys(positives)
  return Array.from({ length: count }, (_, i) => {
    const faker = locales[i % locales.length] ?? fakerEN_US
    const items: Item[] = helpers.shuffle([
      ...helpers.multiple((): Item => pick(faker, kinds), { count: number.int({ min: 0, max: 3 }) }),
      ...helpers.multiple((): Item => ({ hard: false, value: helpers.arrayElement(negatives)(faker) }), {
        count: number.int({ min: 1, max: 3 }),
      }),
    ])
    const [shape, write] = helpers.arrayElement(Object.entries(shapes))
    return read(
      shape,
      write(
        items.map((item) => mark(kinds, item)),
        faker,
      ),
      kinds,
    )
  })
}

function pick(faker: Faker, kinds: readonly string[]): Item {
  const kind = fakerEN_US.helpers.arrayElement(kinds)
  const { usual = [], hard = [] } = positives[kind] ?? {}
  const isHard = fakerEN_US.number.float() < HARD
  const make = fakerEN_US.helpers.arrayElement(isHard ? hard : usual)
  return { kind, hard: isHard, value: make(faker) }
}

function mark(kinds: readonly string[], { kind, hard, value }: Item): string {
  if (kind === undefined) return value
  const begin = String.fromCharCode(BEGIN + 2 * kinds.indexOf(kind) + Number(hard))
  const [before, only, after = ''] = value.split(ONLY)
  return only === undefined ? begin + value + END : before + begin + only + END + after
}

/** Takes the marks out and says where they were. */
function read(shape: string, marked: string, kinds: readonly string[]): Sample {
  const spans: Known[] = []
  let text = ''
  for (const part of marked.split(/([\ue000-\uf8ff])/)) {
    const code = part.length === 1 ? part.charCodeAt(0) : 0
    const open = spans.at(-1)
    if (part === END && open) open.end = text.length
    else if (code >= BEGIN && code < BEGIN + 2 * kinds.length) {
      const [kind, hard] = [kinds[(code - BEGIN) >> 1] ?? '', (code - BEGIN) % 2 === 1]
      spans.push({ kind, hard, start: text.length, end: text.length })
    } else text += part
  }
  return { shape, text, spans }
}

const lead = ['see', 'it was', 'we have', 'noted:', 'please check', 'from', 'with', 'value', '→', '=', ':']

/** How texts are written around values. */
const shapes: Record<string, (values: readonly string[], faker: Faker) => string> = {
  prose: (values, faker) =>
    values.map((v) => `${faker.lorem.sentence()} ${fakerEN_US.helpers.arrayElement(lead)} ${v}. `).join(''),
  sentence: (values, faker) => `${faker.person.fullName()}: ${values.join(', ')} (${faker.location.city()}).`,
  json: (values, faker) =>
    JSON.stringify(
      { id: faker.string.uuid(), name: faker.person.fullName(), items: values.map((v, i) => ({ field: `f${i}`, v })) },
      null,
      fakerEN_US.helpers.arrayElement([0, 2]),
    ),
  log: (values, faker) =>
    values
      .map(
        (v) =>
          `${faker.date.recent().toISOString()} INFO [${faker.hacker.noun()}] ${faker.hacker.verb()} value=${v} status=${faker.internet.httpStatusCode()}`,
      )
      .join('\n'),
  mail: (values, faker) =>
    `Subject: ${faker.lorem.words(4)}\n\nDear ${faker.person.firstName()},\n\n${values.map((v) => `${faker.lorem.sentence()}\n  ${v}\n`).join('\n')}\nRegards\n${faker.person.fullName()}\n> ${faker.lorem.sentence()}`,
  code: (values, faker) =>
    values
      .map((v) => `const ${faker.lorem.word()}_${faker.number.int(99)} = "${v}" // ${faker.hacker.phrase()}`)
      .join('\n'),
  csv: (values, faker) =>
    values.map((v) => `${faker.number.int(9999)};${faker.person.lastName()};${v};${faker.commerce.price()}`).join('\n'),
  table: (values, faker) =>
    `| what | value |\n|---|---|\n${values.map((v) => `| ${faker.commerce.product()} | ${v} |`).join('\n')}`,
  html: (values, faker) => `<ul>${values.map((v) => `<li title="${faker.lorem.word()}">${v}</li>`).join('')}</ul>`,
  yaml: (values, faker) => values.map((v, i) => `${faker.database.column()}${i}: ${v}`).join('\n'),
  unicode: (values) =>
    values
      .map((v) => `${fakerEN_US.helpers.arrayElement(['📧', '联系人：', 'بيانات ', '詳細は', '→ ', '« '])}${v} ✓`)
      .join('。'),
}
