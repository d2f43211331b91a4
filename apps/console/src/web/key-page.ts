import type { KeyHolder, MadeKey, ShownKey } from '@muster/protocol'
import type { VNode } from 'preact'
import { useEffect, useId, useState } from 'preact/hooks'
import { request, serverNow } from './api.ts'
import { describedBy, ExpiryField, Field, Notes } from './field.ts'
import { html } from './html.ts'
import { expiryChange } from './key-fields.ts'
import { ChangeKey, Refusal, useSending } from './key-form.ts'
import { KeySecret } from './key-secret.ts'
import { BudgetUse, Expiry, KeyStatus, MadeBy, Names, Routes, Whose } from './key-text.ts'
import { mayHave } from './me.ts'
import { Fact, Loading, Problem, Time } from './parts.ts'
import { linkTo } from './route.ts'
import { visible } from './text.ts'

const graces: [name: string, ms: number][] = [
  ['not at all: after a leak', 0],
  ['for an hour', 3_600_000],
  ['for a day', 24 * 3_600_000],
  ['for 7 days', 7 * 24 * 3_600_000],
  ['for 30 days', 30 * 24 * 3_600_000],
]
const GRACE_MS = 24 * 3_600_000

/** One key: what it may, and the ways to change, rotate and revoke it. */
export function KeyPage({ id, me }: { id: string; me: KeyHolder | undefined }): VNode {
  const { shown, error, setShown, load } = useKey(id)
  const [made, setMade] = useState<MadeKey>()
  const done = () => {
    setMade(undefined)
    load()
  }
  const title = html`<div class="title run-title"><h1>${visible(id)}${shown && html` <${KeyStatus} shown=${shown} now=${serverNow()} />`}</h1><a href=${linkTo('keys')}>All keys</a></div>`
  if (made) return html`${title}<${KeySecret} made=${made} onDone=${done} />`
  return html`
    ${title}
    <${Problem} error=${error} />
    ${!shown && error === undefined && html`<${Loading} what="the key" />`}
    ${shown && html`<${Facts} shown=${shown} />`}
    ${shown && html`<${Actions} me=${me} shown=${shown} onChanged=${setShown} onMade=${setMade} onRevoked=${load} />`}
  `
}

function useKey(id: string) {
  const [shown, setShown] = useState<ShownKey>()
  const [error, setError] = useState<unknown>()
  const load = async () => {
    try {
      setShown(await request<ShownKey>(`/v1/keys/${encodeURIComponent(id)}`))
      setError(undefined)
    } catch (error) {
      setError(error)
    }
  }
  useEffect(() => {
    load()
  }, [id])
  return { shown, error, setShown, load }
}

function Facts({ shown }: { shown: ShownKey }): VNode {
  const {
    roles,
    gateway,
    expiresAt,
    lastUsedAt,
    createdAt,
    changedAt,
    rotatedAt,
    oldUntil,
    revoked,
    end,
    hands,
    note,
  } = shown
  return html`
    <dl class="facts">
      <${Fact} name="User"><${Whose} shown=${shown} /><//>
      <${Fact} name="Roles">${roles.length === 0 ? 'none' : visible(roles.join(', '))}<//>
      <${Fact} name="Routes">${gateway?.routes && gateway.routes.length > 0 ? visible(gateway.routes.join(', ')) : html`<${Routes} shown=${shown} />`}<//>
      ${gateway?.labels && html`<${Fact} name="Labels"><${Names} names=${gateway.labels} none="none" /><//>`}
      <${Fact} name="Expires"><${Expiry} at=${expiresAt} /><//>
      <${Fact} name="Budget used"><${BudgetUse} shown=${shown} /><//>
      <${Fact} name="Last use, to ten minutes">${lastUsedAt === undefined ? 'never' : html`<${Time} at=${lastUsedAt} />`}<//>
      <${Fact} name="Made by"><${MadeBy} shown=${shown} />${createdAt !== undefined && html` <${Time} at=${createdAt} />`}<//>
      ${changedAt !== undefined && html`<${Fact} name="Changed"><${Time} at=${changedAt} /><//>`}
      ${rotatedAt !== undefined && html`<${Fact} name="Rotated"><${Time} at=${rotatedAt} /><//>`}
      ${oldUntil !== undefined && html`<${Fact} name="Old secret holds until"><${Time} at=${oldUntil} /><//>`}
      ${end !== undefined && html`<${Fact} name="Secret ends with"><code>${visible(end)}</code><//>`}
      ${hands && html`<${Fact} name="Others who could have its secret">${visible(hands.join(', '))}<//>`}
      ${revoked && html`<${Fact} name="Revoked"><${Time} at=${revoked.at} /> by ${visible(revoked.by.user)}<//>`}
      ${note !== undefined && html`<${Fact} name="Note">${visible(note)}<//>`}
    </dl>
  `
}

interface ActionsProps {
  me: KeyHolder | undefined
  shown: ShownKey
  onChanged: (key: ShownKey) => void
  onMade: (made: MadeKey) => void
  onRevoked: () => void
}

function Actions({ me, shown, onChanged, onMade, onRevoked }: ActionsProps): VNode {
  if (shown.from === 'file')
    return html`<p class="note">It stands in the keys file of the deployment (<code>MUSTER_KEYS_FILE</code>), and is changed there.</p>`
  if (shown.revoked) return html`<p class="note">It was revoked, and stays so. Its name stays taken.</p>`
  if (!mayHave(me, 'admin'))
    return html`<p class="note">Changing, rotating and revoking keys needs the role <b>admin</b>.</p>`
  const state = `${shown.changedAt} ${shown.rotatedAt}`
  return html`
    <details class="fold card"><summary>Change</summary><${ChangeKey} key=${state} shown=${shown} onChanged=${onChanged} /></details>
    <details class="fold card"><summary>Rotate</summary><${Rotate} key=${state} shown=${shown} onMade=${onMade} /></details>
    <details class="fold card"><summary>Revoke</summary><${Revoke} shown=${shown} isOwn=${me?.key === shown.id} onRevoked=${onRevoked} /></details>
  `
}

function Rotate({ shown, onMade }: { shown: ShownKey; onMade: (made: MadeKey) => void }): VNode {
  const id = useId()
  const { problems, error, busy, submit } = useSending(async (form) => {
    const body = { graceMs: Number(form.get('graceMs')), ...expiryChange(form, shown) }
    onMade(await request<MadeKey>(`/v1/keys/${encodeURIComponent(shown.id)}/rotate`, { method: 'POST', body }))
  })
  return html`
    <form class="key-form" onSubmit=${submit} aria-label="Rotate the key">
      <p class="note">It gets a new secret, which is shown once. What it may do stays.</p>
      <div class="fields">
        <div class="field">
          <label for=${id}>The secret before holds</label>
          <select id=${id} name="graceMs" ...${describedBy(id, undefined, problems.get('graceMs'))}>
            ${graces.map(([name, ms]) => html`<option key=${ms} value=${ms} selected=${ms === GRACE_MS}>${name}</option>`)}
          </select>
          <${Notes} id=${id} problem=${problems.get('graceMs')} />
        </div>
        <${ExpiryField} at=${shown.expiresAt} problem=${problems.get('expiresAt')} />
      </div>
      <${Refusal} error=${error} problems=${problems} />
      <p class="answers"><button type="submit" disabled=${busy}>${busy ? 'Rotating…' : 'Rotate'}</button></p>
    </form>
  `
}

function Revoke({ shown, isOwn, onRevoked }: { shown: ShownKey; isOwn: boolean; onRevoked: () => void }): VNode {
  const [typed, setTyped] = useState('')
  const { problems, error, busy, submit } = useSending(async () => {
    await request(`/v1/keys/${encodeURIComponent(shown.id)}`, { method: 'DELETE' })
    onRevoked()
  })
  return html`
    <form class="key-form" onSubmit=${submit} aria-label="Revoke the key">
      <p>Within a second it is refused everywhere, for good, and what streams under it is cut off. Its name stays taken. Runs that it has begun go on.</p>
      ${isOwn && html`<p class="warning"><b>You are signed in with this key.</b> You will be signed out.</p>`}
      <div class="fields"><${Field} name="confirm" label=${`To revoke it, type ${shown.id}`} maxlength="64" onInput=${(event: { currentTarget: HTMLInputElement }) => setTyped(event.currentTarget.value.trim())} /></div>
      <${Refusal} error=${error} problems=${problems} />
      <p class="answers"><button type="submit" class="danger" disabled=${busy || typed !== shown.id}>${busy ? 'Revoking…' : 'Revoke for good'}</button></p>
    </form>
  `
}
