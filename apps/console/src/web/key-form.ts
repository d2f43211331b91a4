import type { KeyHolder, MadeKey, ShownKey } from '@muster/protocol'
import type { VNode } from 'preact'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { request } from './api.ts'
import { describedBy, ExpiryField, Field, type FieldProblems, fieldProblems, Notes } from './field.ts'
import { html } from './html.ts'
import { changesFrom, keyField, keyFrom, knownRoles, otherRoles } from './key-fields.ts'
import { mayHave } from './me.ts'
import { Problem } from './parts.ts'
import { linkTo } from './route.ts'

const UNSURE = 'It may have been done all the same: look at the key before you try again.'

interface Sending {
  problems: FieldProblems
  error: unknown
  busy: boolean
  submit: (event: SubmitEvent) => void
}

/** Sends a form, shows what is wrong at its fields, and goes to the first of them. */
export function useSending(send: (form: FormData) => Promise<void>): Sending {
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  const sent = useRef<HTMLFormElement>(null)
  useEffect(() => sent.current?.querySelector<HTMLElement>('[aria-invalid]')?.focus(), [error])
  const submit = async (event: SubmitEvent) => {
    event.preventDefault()
    const form = event.currentTarget as HTMLFormElement
    sent.current = form
    setBusy(true)
    setError(undefined)
    try {
      await send(new FormData(form))
    } catch (error) {
      setError(error)
    }
    setBusy(false)
  }
  return { problems: fieldProblems(error, keyField), error, busy, submit }
}

/** What went wrong; what stands at the fields is not said twice. */
export function Refusal({ error, problems }: Pick<Sending, 'error' | 'problems'>): VNode {
  if (problems.size === 0) return html`<${Problem} error=${error} hint=${UNSURE} />`
  return html`<p class="problem" role="alert"><strong>Not taken.</strong> See what is said at the fields.</p>`
}

/** A new key. */
export function NewKey({ me, onMade }: { me: KeyHolder | undefined; onMade: (made: MadeKey) => void }): VNode {
  const { problems, error, busy, submit } = useSending(async (form) =>
    onMade(await request<MadeKey>('/v1/keys', { method: 'POST', body: keyFrom(form) })),
  )
  return html`
    <form class="card key-form" onSubmit=${submit} aria-label="New key">
      <h2>New key</h2>
      <p class="note">It may do no more than your own. Its secret is shown once, when it is made.</p>
      <div class="fields">
        <${Field} name="user" label="User" required autofocus maxlength="128" hint="Whose it is: cannot be changed" problem=${problems.get('user')} />
        <${Field} name="id" label="Name of the key" maxlength="64" hint="Made of the user where empty; it stays taken for ever" problem=${problems.get('id')} />
        <${Check} name="service" label="It belongs to a service or an agent" hint="It may answer no approvals" problem=${problems.get('service')} />
        <${Rights} problems=${problems} />
        <${Budgets} me=${me} problems=${problems} />
      </div>
      <${Refusal} error=${error} problems=${problems} />
      <p class="answers"><button type="submit" class="primary" disabled=${busy}>${busy ? 'Making…' : 'Make the key'}</button> <a href=${linkTo('keys')}>Cancel</a></p>
    </form>
  `
}

/** What a key may do, or until when. */
export function ChangeKey({ shown, onChanged }: { shown: ShownKey; onChanged: (key: ShownKey) => void }): VNode {
  const [unchanged, setUnchanged] = useState(false)
  const { problems, error, busy, submit } = useSending(async (form) => {
    const body = changesFrom(form, shown)
    setUnchanged(Object.keys(body).length === 0)
    if (Object.keys(body).length > 0)
      onChanged(await request<ShownKey>(`/v1/keys/${encodeURIComponent(shown.id)}`, { method: 'PATCH', body }))
  })
  return html`
    <form class="key-form" onSubmit=${submit} aria-label="Change the key">
      <div class="fields"><${Rights} shown=${shown} problems=${problems} /></div>
      <${Refusal} error=${error} problems=${problems} />
      <p class="answers"><button type="submit" disabled=${busy}>${busy ? 'Saving…' : 'Save'}</button>${unchanged && html` <span class="note" role="status">Nothing is changed.</span>`}</p>
    </form>
  `
}

function Rights({ shown, problems }: { shown?: ShownKey; problems: FieldProblems }): VNode {
  const { roles = [], team, gateway, expiresAt, note } = shown ?? {}
  const list = (names: readonly string[] | undefined) => names?.join(', ')
  const routesHint =
    gateway?.routes?.length === 0 ? 'None now; as long as this stays empty' : 'Such as gpt-5*, local; all where empty'
  return html`
    <${Field} name="team" label="Team" maxlength="128" defaultValue=${team} hint="Of those who share a budget" problem=${problems.get('team')} />
    <${ExpiryField} at=${expiresAt} problem=${problems.get('expiresAt')} />
    <${Roles} roles=${roles} problem=${problems.get('roles')} />
    <${Field} name="routes" label="Routes of the gateway" defaultValue=${list(gateway?.routes)} hint=${routesHint} problem=${problems.get('routes')} />
    <${Field} name="labels" label="Labels" defaultValue=${list(gateway?.labels)} hint="Of all that it asks of the gateway, with commas" problem=${problems.get('labels')} />
    <${Field} name="note" label="Note" maxlength="256" defaultValue=${note} hint="What it is for" problem=${problems.get('note')} />
  `
}

function Roles({ roles, problem }: { roles: readonly string[]; problem: string | undefined }): VNode {
  const id = useId()
  const hint = 'Any other is one that approvals ask for'
  return html`
    <fieldset class="field wide">
      <legend>Roles</legend>
      <div class="boxes">
        ${knownRoles.map(([role, may]) => html`<label class="box" key=${role}><input type="checkbox" name="role" value=${role} defaultChecked=${roles.includes(role)} /><span><code>${role}</code> <span class="dim">${may}</span></span></label>`)}
      </div>
      <label for=${id}>Other roles</label>
      <input id=${id} name="roles" autocomplete="off" spellcheck=${false} placeholder="controller, finance" defaultValue=${otherRoles(roles).join(', ')} ...${describedBy(id, hint, problem)} />
      <${Notes} id=${id} hint=${hint} problem=${problem} />
    </fieldset>
  `
}

function Budgets({ me, problems }: { me: KeyHolder | undefined; problems: FieldProblems }): VNode {
  if (!mayHave(me, 'operator'))
    return html`<p class="note wide">A budget of its own is set by who has the role <b>operator</b>: <code>muster budget</code>.</p>`
  const fields = [
    ['day.usd', 'Budget: US$ a day'],
    ['month.usd', 'US$ a month'],
    ['day.tokens', 'Tokens a day'],
    ['month.tokens', 'Tokens a month'],
  ] as const
  return html`${fields.map(([name, label]) => html`<${Field} key=${name} name=${name} label=${label} type="number" step="any" placeholder="no limit" problem=${problems.get(name)} />`)}`
}

function Check({
  name,
  label,
  hint,
  problem,
}: {
  name: string
  label: string
  hint: string
  problem?: string | undefined
}): VNode {
  const id = useId()
  return html`
    <div class="field">
      <label class="box"><input type="checkbox" name=${name} ...${describedBy(id, hint, problem)} /><span>${label}</span></label>
      <${Notes} id=${id} hint=${hint} problem=${problem} />
    </div>
  `
}
