import type { Config } from '@muster/protocol'
import {
  folderLedgers,
  folderShelf,
  httpWitness,
  type LedgerOptions,
  type Shelf,
  shelfWitness,
  type Witness,
} from '@muster/runtime'
import { openKmsKey, readLedgerKeys } from '@muster/runtime/keys'

/**
 * The ledger as it is configured; undefined where there is none.
 *
 * @throws MusterError `ledger.key_invalid` or `config.invalid`
 */
export async function readLedger(config: Config): Promise<LedgerOptions | undefined> {
  const { MUSTER_LEDGER_DIR: dir, MUSTER_LEDGER_HEADS_MS: headsMs } = config
  const ledgers = dir === undefined ? {} : { ledgers: folderLedgers(dir) }
  if (config.MUSTER_LEDGER === 'heads') return { headsMs, ...ledgers }
  const signers = await readSigners(config)
  if (signers.length === 0) return undefined
  const witnesses = await Promise.all((config.MUSTER_LEDGER_WITNESSES ?? []).map(witnessOf))
  const { MUSTER_LEDGER_ORIGIN: origin, MUSTER_LEDGER_WAIT_MS: waitMsMax } = config
  return { headsMs, ...ledgers, seal: { signers, origin, witnesses, waitMsMax } }
}

async function readSigners(config: Config) {
  const file = config.MUSTER_LEDGER_KEY_FILE
  const ids = (config.MUSTER_LEDGER_KMS_KEYS ?? '').split(',').map((id) => id.trim())
  const endpoint = config.MUSTER_LEDGER_KMS_ENDPOINT
  const kms = await Promise.all(ids.filter((id) => id !== '').map((id) => openKmsKey(id, endpoint)))
  return [...(file === undefined ? [] : readLedgerKeys(file)), ...kms]
}

type Configured = NonNullable<Config['MUSTER_LEDGER_WITNESSES']>[number]

/**
 * The witnesses that keep checkpoints as they came, of those that are configured.
 *
 * @throws MusterError `config.invalid`
 */
export function readShelves(config: Config): Promise<Shelf[]> {
  return Promise.all((config.MUSTER_LEDGER_WITNESSES ?? []).flatMap((one) => ('url' in one ? [] : shelfOf(one))))
}

async function shelfOf(one: Exclude<Configured, { url: string }>): Promise<Shelf> {
  if ('folder' in one) return folderShelf(one.folder)
  const { openS3Shelf } = await import('@muster/runtime/s3')
  return openS3Shelf(one)
}

async function witnessOf(one: Configured): Promise<Witness> {
  return 'url' in one ? httpWitness(one.url, one.key) : shelfWitness(await shelfOf(one))
}
