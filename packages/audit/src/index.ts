/** Hash chain of journals and its verification. Pure: no I/O. */
export { contentDigest, contentJson, genesis, link, saltContent } from './chain.ts'
export { type Finding, type Verification, verifyJournal } from './verify.ts'
