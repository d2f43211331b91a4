import type { Citation, RetrievalResultLocation } from '@aws-sdk/client-bedrock-agent-runtime'
import { z } from 'zod'

/** A passage that an answer rests on. */
export const source = z.object({
  text: z.string(),
  /** Address or name of the document, where the knowledge base tells it. */
  at: z.string().optional(),
})
type Source = z.infer<typeof source>

/** A part of an answer with what it rests on. */
export const citation = z.object({ text: z.string(), sources: z.array(source) })

export function citationsOf(citations: readonly Citation[] | undefined): z.infer<typeof citation>[] {
  return (citations ?? []).map(({ generatedResponsePart, retrievedReferences = [] }) => ({
    text: generatedResponsePart?.textResponsePart?.text ?? '',
    sources: retrievedReferences.map(({ content, location }) => sourceOf(content?.text, location)),
  }))
}

export function sourceOf(text: string | undefined, location: RetrievalResultLocation | undefined): Source {
  const at = placeOf(location)
  return { text: text ?? '', ...(at === undefined ? {} : { at }) }
}

/** Each kind of store says where a document is in a member of its own. */
function placeOf(location: RetrievalResultLocation | undefined): string | undefined {
  if (!location) return undefined
  const { s3Location, webLocation, confluenceLocation, salesforceLocation, sharePointLocation } = location
  const { customDocumentLocation, kendraDocumentLocation, sqlLocation, oneDriveLocation, googleDriveLocation } =
    location
  const byUrl = [
    webLocation,
    confluenceLocation,
    salesforceLocation,
    sharePointLocation,
    oneDriveLocation,
    googleDriveLocation,
  ]
  return (
    s3Location?.uri ??
    byUrl.find((one) => one?.url !== undefined)?.url ??
    kendraDocumentLocation?.uri ??
    customDocumentLocation?.id ??
    sqlLocation?.query
  )
}
