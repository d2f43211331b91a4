import { type Memory, openMemory } from '@muster/memory'
import { type Config, MusterError } from '@muster/protocol'
import { openContentKmsKey, readContentKeys } from '@muster/runtime/keys'

/** The table as it is configured, with what wraps its keys. @throws MusterError `config.invalid`, `content.key_invalid` */
export async function openMemoryOf(config: Config): Promise<Memory> {
  const { MUSTER_CONTENT_KEY_FILE: file, MUSTER_CONTENT_KMS_KEY: kms, DYNAMODB_ENDPOINT: endpoint } = config
  if (file !== undefined && kms !== undefined)
    throw new MusterError('config.invalid', 'give MUSTER_CONTENT_KEY_FILE or MUSTER_CONTENT_KMS_KEY, not both')
  return openMemory({
    table: config.MUSTER_TABLE,
    keyCacheMs: config.MUSTER_CONTENT_KEY_CACHE_MS,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(file === undefined ? {} : { master: readContentKeys(file) }),
    ...(kms === undefined ? {} : { master: await openContentKmsKey(kms, config.MUSTER_CONTENT_KMS_ENDPOINT) }),
  })
}
