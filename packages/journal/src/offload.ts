/** Takes content out of the way that is too large for the journal; gives what to keep in its place. */
export type Offload = (
  owner: { tenant: string; run: string; subject?: string | undefined },
  digest: string,
  salted: string,
) => Promise<void>

/** Content longer than this is kept in the blob store under its digest; the journal holds OFFLOADED. */
export const CONTENT_INLINE_MAX = 16_384
/** Stands for content that lies in the blob store. */
export const OFFLOADED = '@'
