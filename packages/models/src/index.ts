/** One interface to every model. */
export { guarded } from './guardrail.ts'
export type { ModelMessage, ModelReply, ModelRequest, ToolCall } from './message.ts'
export { createModels, type Models, type ModelsOptions, type Route, withReferences } from './models.ts'
export type { FilePart, ImagePart, Part } from './parts.ts'
export { costOf, type Price, priceOf } from './price.ts'
export type { Dialect, RelayEnd, Relayed, RelayRequest } from './relay/request.ts'
export { VendorError } from './relay/upstream.ts'
export type { Target } from './target.ts'
