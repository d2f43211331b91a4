import { type Faker, fakerEN_US } from '@faker-js/faker'

export const ONLY = '\u0001'

type Make = (faker: Faker) => string

const { finance, helpers, internet, number, string } = fakerEN_US
const alnum = (length: number) => string.alphanumeric(length)
const hex = (length: number) => string.hexadecimal({ length, prefix: '', casing: 'lower' })
const base64 = (length: number) => Buffer.from(string.sample(length)).toString('base64').slice(0, length)
const base64url = (length: number) => Buffer.from(string.sample(length)).toString('base64url').slice(0, length)
const password = () => internet.password({ length: number.int({ min: 9, max: 20 }), pattern: /[A-Za-z0-9!_-]/ })

/** Telephone numbers from areas that there are. */
const american = (form: string) =>
  form
    .replace('A', helpers.arrayElement(['202', '212', '305', '310', '312', '415', '512', '617', '702', '206']))
    .replace('B', `${number.int({ min: 2, max: 9 })}${number.int({ min: 2, max: 9 })}${number.int(9)}`)
    .replace('C', string.numeric(4))
const german = (separator: string, before: string) => {
  const [area, digits] = helpers.arrayElement([
    ['30', 8],
    ['89', 8],
    ['40', 7],
    ['221', 7],
    ['711', 6],
    ['151', 8],
    ['170', 7],
    ['176', 8],
  ] as const)
  return `${before}${area}${separator}${number.int({ min: 2, max: 9 })}${string.numeric(digits - 1)}`
}
const french = (separator: string, before: string) =>
  before + [number.int({ min: 1, max: 6 }), ...helpers.multiple(() => string.numeric(2), { count: 4 })].join(separator)
const british = (before: string) =>
  before +
  helpers.arrayElement([
    () => `20 7${string.numeric(3)} ${string.numeric(4)}`,
    () => `161 ${number.int({ min: 2, max: 9 })}${string.numeric(2)} ${string.numeric(4)}`,
    () => `77${string.numeric(2)} ${string.numeric(6)}`,
  ])()

const card = (separator: string) => {
  const digits = finance
    .creditCardNumber({ issuer: helpers.arrayElement(['visa', 'mastercard', 'discover', 'american_express']) })
    .replace(/\D/g, '')
  return digits.length === 15
    ? digits.replace(/(.{4})(.{6})(.{5})/, `$1${separator}$2${separator}$3`)
    : digits.replace(/(.{4})(?=.)/g, `$1${separator}`)
}

/** Of a text, what alone is to be found. */
const only = (value: string) => `${ONLY}${value}${ONLY}`

/** What is to be found, by kind: as it is usually written, and as only who reads it knows what it is. */
export const positives: Record<string, { usual: readonly Make[]; hard: readonly Make[] }> = {
  email: {
    usual: [
      (faker) => faker.internet.email(),
      (faker) => faker.internet.email().toLowerCase(),
      (faker) => faker.internet.exampleEmail(),
      () => `${internet.username().toLowerCase()}+${string.alpha(5)}@mail.${internet.domainName()}`,
      () => `o'${string.alpha({ length: 6, casing: 'lower' })}@${internet.domainName()}`,
      () => `${string.alpha({ length: 6, casing: 'lower' })}@bücher-${string.alpha({ length: 4, casing: 'lower' })}.de`,
      () => internet.email().toUpperCase(),
      () => internet.email().replace('@', '%40'),
    ],
    hard: [() => internet.email().replace('@', ' (at) ')],
  },
  phone: {
    usual: [
      (faker) => faker.phone.number({ style: 'international' }),
      () => american('(A) B-C'),
      () => american('A-B-C'),
      () => american('A.B.C'),
      () => american('+1 A B C'),
      () => german(' ', '0'),
      () => german('/', '0'),
      () => german(' ', '+49 '),
      () => german(' ', '+49 (0)'),
      () => french(' ', '0'),
      () => french('.', '0'),
      () => french(' ', '+33 '),
      () => french('', '0033'),
      () => british('0'),
      () => british('+44 '),
    ],
    hard: [() => american('ABC'), () => german('', '')],
  },
  iban: {
    usual: [
      () => finance.iban({ formatted: true }),
      () => finance.iban(),
      () => finance.iban({ formatted: true, countryCode: 'DE' }),
      () => finance.iban({ countryCode: 'FR' }).toLowerCase(),
      () => finance.iban({ formatted: true, countryCode: 'GB' }).replaceAll(' ', '\u00a0'),
    ],
    hard: [() => finance.iban({ formatted: true, countryCode: 'NL' }).replaceAll(' ', '-')],
  },
  'credit-card': {
    usual: [() => card(' '), () => card('-'), () => card('')],
    hard: [() => card('.')],
  },
  'ip-address': {
    usual: [
      () => internet.ipv4(),
      () => internet.ipv6(),
      () => internet.ipv4({ network: helpers.arrayElement(['private-a', 'private-b', 'private-c']) }),
      () => internet.ipv6().replace(/(:[0-9a-f]{4}){3}/, ':'),
    ],
    hard: [() => `::ffff:${internet.ipv4()}`],
  },
  'us-ssn': {
    usual: [
      () =>
        `${number.int({ min: 100, max: 665 })}-${string.numeric({ length: 2, exclude: ['0'] })}-${string.numeric({ length: 4, exclude: ['0'] })}`,
      () =>
        `${number.int({ min: 100, max: 665 })} ${string.numeric({ length: 2, exclude: ['0'] })} ${string.numeric({ length: 4, exclude: ['0'] })}`,
    ],
    hard: [() => `${number.int({ min: 100, max: 665 })}${string.numeric({ length: 6, exclude: ['0'] })}`],
  },
  secret: {
    usual: [
      () => `ghp_${alnum(36)}`,
      () => `github_pat_${alnum(22)}_${alnum(59)}`,
      () => `glpat-${alnum(20)}`,
      () => `xoxb-${string.numeric(12)}-${string.numeric(12)}-${alnum(24)}`,
      () => `sk-ant-api03-${base64url(93)}AA`,
      () => `sk-proj-${alnum(74)}T3BlbkFJ${alnum(74)}`,
      () => `AKIA${string.alphanumeric({ length: 16, casing: 'upper' })}`,
      () => `sk_live_${alnum(24)}`,
      () => `AIza${base64url(35)}`,
      () => `npm_${alnum(36)}`,
      () => `hf_${string.alpha(34)}`,
      () => `SG.${alnum(22)}.${alnum(43)}`,
      () => `eyJ${base64url(33)}.eyJ${base64url(60)}.${base64url(43)}`,
      () => `Bearer ${only(alnum(40))}`,
      () => `postgres://${internet.username()}:${only(password())}@db.${internet.domainName()}:5432/app`,
      () => `mongodb+srv://app:${only(password())}@cluster0.${internet.domainWord()}.mongodb.net/x`,
      () => `redis://:${only(password())}@${internet.domainName()}:6379`,
      () => `password=${only(password())}`,
      () => `api_key: ${only(hex(32))}`,
      () => `-----BEGIN PRIVATE KEY-----\nMII${base64(61)}\n${base64(64)}\n${base64(64)}\n-----END PRIVATE KEY-----`,
      () => `AccountKey=${only(`${base64(86)}==`)}`,
    ],
    hard: [() => hex(40), () => password()],
  },
}
