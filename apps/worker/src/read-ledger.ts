import type { Config } from '@muster/protocol'
import {
  folderLedgers,
  folderWitness,
  httpWitness,
  type LedgerOptions,
  openKmsKey,
  readLedgerKeys,
  type Witness,
} from '@muster/runtime'

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
  const witnesses = (config.MUSTER_LEDGER_WITNESSES ?? []).map(witnessOf)
  return { headsMs, ...ledgers, seal: { signers, origin: config.MUSTER_LEDGER_ORIGIN, witnesses } }
}

async function readSigners(config: Config) {
  const file = config.MUSTER_LEDGER_KEY_FILE
  const ids = (config.MUSTER_LEDGER_KMS_KEYS ?? '').split(',').map((id) => id.trim())
  const endpoint = config.MUSTER_LEDGER_KMS_ENDPOINT
  const kms = await Promise.all(ids.filter((id) => id !== '').map((id) => openKmsKey(id, endpoint)))
  return [...(file === undefined ? [] : readLedgerKeys(file)), ...kms]
}

function witnessOf(witness: NonNullable<Config['MUSTER_LEDGER_WITNESSES']>[number]): Witness {
  return 'folder' in witness ? folderWitness(witness.folder) : httpWitness(witness.url, witness.key)
}
