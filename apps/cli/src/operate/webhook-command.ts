import { MusterError, type Webhook, type WebhookEvent, webhookEvent } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { dateOf, plain, print, tableOf } from '../output.ts'

/** `muster webhooks`: where events are sent to. */
export async function webhooksCommand(muster: Muster, json: boolean): Promise<number> {
  const webhooks = await muster.webhooks.list()
  if (json) print({ webhooks })
  else if (webhooks.length === 0) console.log('there is no webhook')
  else console.log(table(webhooks))
  return 0
}

function table(webhooks: readonly Webhook[]): string {
  const rows = tableOf(['webhook', 'address', 'events', ''])
  for (const { id, url, events, disabled } of webhooks)
    rows.push([id, plain(url), events.join(', '), disabled ? pc.yellow(`disabled: ${plain(disabled.reason)}`) : ''])
  return rows.toString()
}

/** `muster webhook create`: the secret is shown once. */
export async function createWebhookCommand(
  muster: Muster,
  url: string,
  { events, json }: { events?: string; json: boolean },
): Promise<number> {
  const made = await muster.webhooks.create({ url, ...(events === undefined ? {} : { events: readEvents(events) }) })
  if (json) print(made)
  else console.log(`${made.id} is told of ${made.events.join(', ')}\nsecret, shown only now: ${made.secret}`)
  return 0
}

function readEvents(text: string): WebhookEvent[] {
  return text.split(',').map((part) => {
    const parsed = webhookEvent.safeParse(part.trim())
    if (parsed.success) return parsed.data
    throw new MusterError('request.invalid', `--events: "${part}" is none of ${webhookEvent.options.join(', ')}`)
  })
}

/** `muster webhook deliveries`: attempts of the last week, newest first. */
export async function deliveriesCommand(muster: Muster, id: string, json: boolean): Promise<number> {
  const deliveries = await muster.webhooks.deliveries(id)
  if (json) {
    print({ deliveries })
    return 0
  }
  const rows = tableOf(['when', 'event', 'type', 'attempt', 'answer', 'again'])
  for (const { at, event, type, attempt, delivered, status, error, nextAt } of deliveries) {
    const answer = String(status ?? plain(error ?? ''))
    const again = nextAt === undefined ? '' : dateOf(nextAt)
    rows.push([dateOf(at), plain(event), type, attempt, delivered ? pc.green(answer) : pc.red(answer), again])
  }
  console.log(deliveries.length === 0 ? 'nothing was sent yet' : rows.toString())
  return 0
}

/** `muster webhook replay`: one event, or all that were not delivered since a time. */
export async function replayCommand(
  muster: Muster,
  id: string,
  { event, since, json }: { event?: string; since?: string; json: boolean },
): Promise<number> {
  const from = since === undefined ? Number.NaN : Date.parse(since)
  if (event === undefined && Number.isNaN(from))
    throw new MusterError('request.invalid', 'give --event <id>, or --since with a time such as 2030-01-31T09:00:00Z')
  const events = await muster.webhooks.replay(id, event === undefined ? { since: from } : { event })
  if (json) print({ events })
  else console.log(`sends again: ${events.length === 0 ? 'nothing' : events.map(plain).join(', ')}`)
  return 0
}

/** `muster webhook rotate | test | remove <id>`. */
export async function webhookActionCommand(
  muster: Muster,
  action: 'rotate' | 'test' | 'remove',
  id: string,
  json: boolean,
): Promise<number> {
  if (action === 'remove') {
    await muster.webhooks.remove(id)
    if (json) print({ id })
    else console.log(`removed ${id}`)
  } else if (action === 'test') {
    const event = await muster.webhooks.test(id)
    if (json) print({ id, event })
    else console.log(`sends ${event}: see \`muster webhook deliveries ${id}\``)
  } else {
    const rotated = await muster.webhooks.rotate(id)
    if (json) print(rotated)
    else
      console.log(
        `secret, shown only now: ${rotated.secret}\nfor a day deliveries are signed with the one before as well`,
      )
  }
  return 0
}
