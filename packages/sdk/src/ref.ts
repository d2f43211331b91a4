import { MusterError } from '@muster/protocol'

/** Which step an output that a plan holds came from. */
const origins = new WeakMap<object, string>()

/** The runtime's side of `ref`: says that this object is the output of that step. */
export function markOutput(output: unknown, step: string): void {
  if (typeof output === 'object' && output !== null) origins.set(output, step)
}

type Unescape<Key extends string> = Key extends `${infer A}~1${infer B}`
  ? `${Unescape<A>}/${Unescape<B>}`
  : Key extends `${infer A}~0${infer B}`
    ? `${Unescape<A>}~${Unescape<B>}`
    : Key

/** The type of a member; of each where T is a union. */
type Member<T, Key extends string> = T extends readonly (infer Item)[]
  ? Key extends `${number}`
    ? Item
    : never
  : Key extends keyof T
    ? T[Key]
    : never

type At<T, P extends string> = P extends ''
  ? T
  : P extends `/${infer Key}/${infer Rest}`
    ? At<Member<T, Unescape<Key>>, `/${Rest}`>
    : P extends `/${infer Key}`
      ? Member<T, Unescape<Key>>
      : never

/** JSON Pointers to the fields of T, one level deep, as the editor completes them. */
type Pointers<T> = T extends readonly unknown[] ? string : `/${Extract<keyof T, string>}` | ''

/**
 * A reference to a field of an earlier step's output, to pass where the value itself would go. The
 * step that takes it gets exactly that value with exactly its labels, whatever else the plan has seen.
 *
 * @throws MusterError `plan.unknown_reference` when the value is not an output of a step
 */
export function ref<T extends object, const P extends Pointers<T> | (string & {}) = ''>(
  output: T,
  // A pointer to nothing would have the type `never`, which fits everywhere: it is refused here.
  pointer?: [At<T, P>] extends [never] ? (string extends P ? P : Pointers<T>) : P,
): At<T, P> {
  const step = origins.get(output)
  if (step === undefined)
    throw new MusterError(
      'plan.unknown_reference',
      'ref() takes an output as a step gave it, not a copy or a part of one',
    )
  const token = step.replaceAll('~', '~0').replaceAll('/', '~1')
  // A reference stands for the value until the step is started; its type is therefore the value's.
  return { $ref: `#/steps/${token}/output${pointer ?? ''}` } as unknown as At<T, P>
}
