/** Something that a run did, or that governance let through, and that it should not have. */
export interface Breach {
  code:
    | 'policy'
    | 'decision'
    | 'approval'
    | 'effect-without-allow'
    | 'effect-without-intent'
    | 'once-repeated'
    | 'budget'
    | 'labels'
    | 'time'
    | 'parent'
    | 'copied'
    | 'control'
    | 'cached'
  run?: string
  seq?: number
  message: string
}

export interface Conduct {
  decisions: number
  /** Decided again, and the same. */
  same: number
  effects: number
  breaches: Breach[]
  /** What cannot be told from the export, and is not taken to be right. */
  notCheckable: { run?: string; seq?: number; why: string }[]
}

/** A breach, or where it has `unknown`, why it cannot be told whether it is one. */
export function tell(
  { breaches, notCheckable }: Conduct,
  code: Breach['code'],
  { message, unknown, ...where }: { run?: string; seq?: number; message: string; unknown?: string },
): void {
  if (unknown === undefined) breaches.push({ code, ...where, message })
  else notCheckable.push({ ...where, why: `${message}: ${unknown}` })
}
