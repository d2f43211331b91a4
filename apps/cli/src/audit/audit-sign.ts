import { formatNote, newVerifier, type Signer, signNote } from '@muster/audit'
import type { Config } from '@muster/protocol'
import { openKmsKey, readLedgerKeys } from '@muster/worker/settings'

/** The keys of an exporter, from a file or from KMS. @throws MusterError `ledger.key_invalid` */
export async function readExporterKeys(
  config: Config,
  { signKey, kmsKey }: { signKey?: string; kmsKey?: string },
): Promise<Signer[]> {
  return [
    ...(signKey === undefined ? [] : readLedgerKeys(signKey)),
    ...(kmsKey === undefined ? [] : [await openKmsKey(kmsKey, config.MUSTER_LEDGER_KMS_ENDPOINT)]),
  ]
}

/** A signed note (C2SP) that says which manifest an export of this ledger has, and the keys it can be checked with. */
export async function signManifest(
  { format, origin, fingerprint }: { format: string; origin: string; fingerprint: string },
  signers: readonly Signer[],
): Promise<{ note: string; vkeys: string[] }> {
  const name = `${origin}/exports`
  const text = `${name}\n${format}\n${fingerprint}\n`
  const signatures = await Promise.all(signers.map((signer) => signNote(text, name, signer)))
  return {
    note: formatNote({ text, signatures }),
    vkeys: signers.map(({ publicKey }) => newVerifier(name, publicKey).vkey),
  }
}
