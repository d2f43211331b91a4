/** Hash chain of journals and its verification, and the ledger that the heads of journals enter. Pure: no I/O. */
export { contentDigest, contentJson, genesis, link, saltContent } from './chain.ts'
export {
  type Checkpoint,
  checkpointText,
  type OpenCheckpoint,
  openCheckpoint,
  parseCheckpoint,
} from './ledger/checkpoint.ts'
export { type TileFile, TileLog, type TileStorage, type Tree } from './ledger/log.ts'
export { emptyRoot, HASH_LENGTH, type Hash, leafHash, sameHash, verifyConsistency } from './ledger/merkle.ts'
export {
  base64,
  cosign,
  formatNote,
  formatSignature,
  isKeyName,
  keyNames,
  type Note,
  type NoteSignature,
  newVerifier,
  parseNote,
  parseSignatures,
  parseVerifier,
  type Signer,
  signNote,
  type Verifier,
  verifySignatures,
} from './ledger/note.ts'
export { formatProof, type Proof, parseProof, verifyProof } from './ledger/proof.ts'
export {
  decodeEntries,
  encodeEntries,
  parseTilePath,
  TILE_WIDTH,
  type Tile,
  tileOfBundle,
  tileWidth,
} from './ledger/tile.ts'
export { type Finding, type Verification, verifyBook, verifyJournal } from './verify.ts'
